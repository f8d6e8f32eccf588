package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-runewidth"
)

type helpCmd struct {
	Topic []string `arg:"" optional:"" help:"A command, such as user add, or settings."`
}

func (helpCmd) settingsOptional() {}

// Run prints the settings, or what --help prints for the command.
func (a helpCmd) Run(c *command) error {
	printed := false
	var fresh cli
	parser, err := newParser(&fresh, c.io, func() { printed = true })
	if err != nil {
		return err
	}
	if slices.Equal(a.Topic, []string{"settings"}) {
		c.printSettings(parser.Model)
		return nil
	}
	// After it has printed the help, kong goes on to parse, and may miss arguments.
	_, err = parser.Parse(append(slices.Clone(a.Topic), "--help"))
	if !printed {
		return usageError{err, " help"}
	}
	return nil
}

// helpWidth is the width of help where the terminal is wider, or there is none.
const helpWidth = 100

// printSettings lists the settings from the definitions of their flags.
func (c *command) printSettings(model *kong.Application) {
	width := helpWidth
	if w := terminalWidth(c.io.Out); w > 0 {
		width = min(width, w)
	}
	c.printf("%s\n", wrap("Each setting is an environment variable and a flag: LISTEN_ADDR is --listen-addr. The file .env in the working "+
		"directory sets the variables that the environment does not. Durations have units, as in 90m, 12h, 30d or 30d12h.", "", width))
	for _, flag := range model.Flags {
		if len(flag.Envs) == 0 {
			continue
		}
		name := flag.Envs[0]
		if flag.Default != "" {
			name = fmt.Sprintf("%s (default: %s)", name, flag.Default)
		}
		c.printf("%s\n%s", name, wrap(flag.Help, "    ", width))
	}
}

// wrap breaks a text into indented lines of at most width columns, unless a word is longer.
func wrap(text, indent string, width int) string {
	var lines []string
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && runewidth.StringWidth(line)+runewidth.StringWidth(word) > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line = indent
		}
		line += word + " "
	}
	return strings.Join(append(lines, strings.TrimRight(line, " ")), "\n")
}
