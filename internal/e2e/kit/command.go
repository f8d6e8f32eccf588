package kit

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// SecretSetting stands for any secret in a setting; it must never be printed.
const SecretSetting = "hunter2-never-printed"

// WantErrorLine fails unless the command printed an error of one line with all of these parts, and no secret.
func WantErrorLine(t *testing.T, o CommandResult, says ...string) {
	t.Helper()
	if !strings.HasPrefix(o.Stderr, "gatehouse: ") || strings.Count(o.Stderr, "\n") != 1 || !strings.HasSuffix(o.Stderr, "\n") {
		t.Errorf("stderr is not one line:\n%s", o.Stderr)
	}
	for _, part := range says {
		if !strings.Contains(o.Stderr, part) {
			t.Errorf("the line does not say %q: %s", part, o.Stderr)
		}
	}
	WantNoSecret(t, o)
}

// WantNoSecret fails if the output contains a secret.
func WantNoSecret(t *testing.T, o CommandResult) {
	t.Helper()
	for _, kept := range []string{SecretSetting, SecretKey, Password, OtherPassword, "aHVudGVyMi1uZXZlcg=="} {
		if strings.Contains(o.Stdout+o.Stderr, kept) {
			t.Errorf("a secret (%s) is printed:\n%s%s", kept, o.Stdout, o.Stderr)
		}
	}
}

// RunTwice runs a command twice concurrently. The command must not fail the test, so the results are checked
// afterwards.
func RunTwice(run func() CommandResult) []CommandResult {
	outcomes := make(chan CommandResult)
	for range 2 {
		go func() { outcomes <- run() }()
	}
	return []CommandResult{<-outcomes, <-outcomes}
}

// CommandResult is how a command ended.
type CommandResult struct {
	Stdout, Stderr string
	ExitCode       int
	Duration       time.Duration
}

// RunCommand runs the program in an empty directory with these settings and almost nothing else in its environment.
func RunCommand(t testing.TB, env map[string]string, stdin string, args ...string) CommandResult {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			all[name] = value
		}
	}
	maps.Copy(all, env)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testkit.BuildWithoutRace(t), args...)
	for name, value := range all {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Dir = t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	begun := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("gatehouse %s: %v", strings.Join(args, " "), err)
	}
	return CommandResult{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(begun)}
}

// Run runs a command on the site's stores.
func (s *Site) Run(stdin string, args ...string) CommandResult {
	s.T.Helper()
	return RunCommand(s.T, s.Env(), stdin, args...)
}

// WantCode fails unless the command ended with the exit code.
func (o CommandResult) WantCode(t testing.TB, code int) {
	t.Helper()
	if o.ExitCode != code {
		t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", o.ExitCode, code, o.Stdout, o.Stderr)
	}
}

// WantOutput fails unless the command succeeded and printed exactly this.
func (o CommandResult) WantOutput(t testing.TB, stdout string) {
	t.Helper()
	o.WantCode(t, 0)
	if o.Stdout != stdout || o.Stderr != "" {
		t.Errorf("printed %q and on stderr %q, want %q and nothing", o.Stdout, o.Stderr, stdout)
	}
}
