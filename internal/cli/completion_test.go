package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

func TestComplete_OffersWhatCanFollow(t *testing.T) {
	env := map[string]string{"LISTEN_ADDR": "nonsense"}
	for line, want := range map[string]string{
		"us":                           "user",
		"user l":                       "list logout leave",
		"user import --fr":             "--from",
		"user import --from d":         "django",
		"user import --from = d":       "django",
		"user import x --from django ": "",
		"--log-format json user sh":    "show",
		"completion ":                  "bash zsh fish",
		"user add ann --password":      "--password-stdin --password-min-length",
		"serve --registration c":       "closed",
		"_":                            "",
	} {
		words := strings.Split(line, " ")
		out, errs, err := runIn(t, env, append([]string{"__complete"}, words...)...)
		var got []string
		for candidate := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(candidate, "\n"), "\t")
			got = append(got, word)
		}
		if err != nil || errs != "" || strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, %v %s; want %q", line, got, err, errs, want)
		}
	}
	if out, _, _ := runIn(t, env, "__complete", "version"); out != "version\tPrint the version.\n" {
		t.Errorf("got %q", out)
	}
}

// TestCompletion_WorksInTheShells: a program that stands for gatehouse prints what it was asked to complete.
func TestCompletion_WorksInTheShells(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "gatehouse")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '%s\\n' \"$*|a:b c\tmeans this\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for shell, script := range map[string]string{
		"bash": `source "$1"; COMP_WORDS=("$2" user "" ); COMP_CWORD=2; _gatehouse; printf '%s\n' "${COMPREPLY[@]}"`,
		"fish": `source $argv[1]; cd (dirname $argv[2]); set PATH . $PATH; complete -C 'gatehouse user '`,
		"zsh":  `autoload -U compinit; compinit -D; source "$1"; words=("$2" user ""); CURRENT=3; _describe() { print -rl -- "${(P@)2}"; }; _gatehouse`,
	} {
		t.Run(shell, func(t *testing.T) {
			path := testkit.Tool(t, shell)
			out, _, err := runIn(t, map[string]string{}, "completion", shell)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, shell)
			if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"-c", script, shell, file, program}
			if shell == "fish" {
				args = []string{"-c", script, file, program}
			}
			cmd := exec.Command(path, args...)
			cmd.Env = append(os.Environ(), "HOME="+dir)
			got, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(got), "__complete user |a") || !strings.Contains(string(got), "b c") {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

func TestHelp_ListsSettings(t *testing.T) {
	out, errs, err := runIn(t, map[string]string{"LISTEN_ADDR": "nonsense", "SECRET_KEY": testSecret}, "help", "settings")
	for _, part := range []string{"LISTEN_ADDR (default: localhost:8080)\n    Address to listen on, host:port.\n", "SESSION_IDLE (default: 2h)\n", "DATABASE_URL\n    postgres://… or sqlite:PATH.", "30d"} {
		if err != nil || errs != "" || !strings.Contains(out, part) {
			t.Errorf("%v, no %q in\n%s%s", err, part, out, errs)
		}
	}
	if strings.Contains(out, testSecret) || strings.Contains(out, "nonsense") {
		t.Errorf("values are printed:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if len(line) > helpWidth+10 {
			t.Errorf("a long line: %s", line)
		}
	}
	for args, want := range map[string]string{"help": "Usage: gatehouse", "help user add": "Usage: gatehouse user add", "help user": "Usage: gatehouse user", "help help": "Usage: gatehouse help"} {
		if out, _, err := runIn(t, map[string]string{}, strings.Fields(args)...); err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%s: %v, %s", args, err, out)
		}
	}
	if _, _, err := runIn(t, map[string]string{}, "help", "nonsense"); exitCode(t.Context(), err) != 2 {
		t.Errorf("an unknown topic: %v", err)
	}
}
