package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCmd) settingsOptional() {}

// Run prints a script that asks the program itself for candidates, so that the script stays valid for every version.
func (a completionCmd) Run(c *command) error {
	fmt.Fprint(c.io.Out, completionScripts[a.Shell])
	return nil
}

// completionScripts are the scripts by shell. Each calls `gatehouse __complete`, and offers files if that prints nothing.
var completionScripts = map[string]string{
	"bash": `# bash completion for gatehouse; in ~/.bashrc: source <(gatehouse completion bash)
_gatehouse() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		COMPREPLY+=("${line%%$'\t'*}")
	done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -o default -F _gatehouse gatehouse
`,
	"zsh": `#compdef gatehouse
# zsh completion for gatehouse; in ~/.zshrc, after compinit: source <(gatehouse completion zsh)
_gatehouse() {
	local -a candidates
	candidates=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	candidates=("${(@)candidates/$'\t'/:}")
	if [[ -n "${candidates[1]}" ]]; then
		_describe gatehouse candidates
	else
		_files
	fi
}
compdef _gatehouse gatehouse
`,
	"fish": `# fish completion for gatehouse; in ~/.config/fish/config.fish: gatehouse completion fish | source
function __gatehouse_complete
	set -l words (commandline -opc) (commandline -ct)
	set -l candidates ($words[1] __complete $words[2..-1] 2>/dev/null)
	if test (count $candidates) -gt 0
		printf '%s\n' $candidates
	else
		__fish_complete_path (commandline -ct)
	end
end
complete -c gatehouse -f -a '(__gatehouse_complete)'
`,
}

// completeCmd prints the candidates for the last of the words, one per line: the word, a tab and what it means.
type completeCmd struct {
	Words []string `arg:"" optional:""`
}

func (completeCmd) settingsOptional() {}

func (a completeCmd) Run(c *command) error {
	var fresh cli
	parser, err := newParser(&fresh, c.io, func() {})
	if err != nil {
		return err
	}
	for _, candidate := range candidates(parser.Model.Node, a.Words) {
		fmt.Fprintln(c.io.Out, candidate)
	}
	return nil
}

// candidates returns how the last of the words can continue, given the others.
func candidates(node *kong.Node, words []string) []string {
	// bash treats the = of --flag=value as a word.
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "=" })
	if len(words) == 0 {
		words = []string{""}
	}
	last, before := words[len(words)-1], words[:len(words)-1]
	positional := 0
	var pending *kong.Flag // waits for its value
	for _, word := range before {
		switch {
		case pending != nil:
			pending = nil
		case strings.HasPrefix(word, "-"):
			name, _, hasValue := strings.Cut(word, "=")
			if flag := findFlag(node, name); flag != nil && !flag.IsBool() && !hasValue {
				pending = flag
			}
		default:
			if child := findChild(node, word); child != nil {
				node, positional = child, 0
			} else {
				positional++
			}
		}
	}
	var all []string
	offer := func(word, help string) {
		if strings.HasPrefix(word, last) {
			all = append(all, strings.TrimSuffix(word+"\t"+help, "\t"))
		}
	}
	switch {
	case pending != nil:
		offerEnum(pending.Value, offer)
	case strings.HasPrefix(last, "-"):
		for _, flag := range flags(node) {
			offer("--"+flag.Name, flag.Help)
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				offer(child.Name, child.Help)
			}
		}
		if positional < len(node.Positional) {
			offerEnum(node.Positional[positional], offer)
		}
	}
	return all
}

func offerEnum(v *kong.Value, offer func(word, help string)) {
	if v.Enum == "" {
		return
	}
	for _, word := range v.EnumSlice() {
		offer(word, "")
	}
}

func findChild(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// flags returns the visible flags of a command, and then those of the commands above it.
func flags(node *kong.Node) []*kong.Flag {
	var all []*kong.Flag
	for ; node != nil; node = node.Parent {
		for _, flag := range node.Flags {
			if !flag.Hidden {
				all = append(all, flag)
			}
		}
	}
	return all
}

func findFlag(node *kong.Node, name string) *kong.Flag {
	for _, flag := range flags(node) {
		if "--"+flag.Name == name {
			return flag
		}
	}
	return nil
}
