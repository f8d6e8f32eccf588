package config

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// envFile returns the path of a file that the returned function writes.
func envFile(t *testing.T) (path string, write func(string)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), ".env")
	return path, func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadEnvFile_LeavesTheEnvironmentAlone(t *testing.T) {
	path, write := envFile(t)
	settings := []string{"LISTEN_ADDR", "SECRET_KEY", "DATA_DIR", "REDIS_URL"}
	for _, name := range append(settings, "OTHER") {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Setenv("DATA_DIR", "mine")
	if set, err := ReadEnvFile(path, settings); set != nil || err != nil {
		t.Errorf("without a file: %q, %v", set, err)
	}
	write("\ufeff# comment\nexport LISTEN_ADDR=:1 # comment\nSECRET_KEY='a$b#c+/='\n\nDATA_DIR=theirs\nREDIS_URL=\nOTHER=\"two\nlines\"\n")
	set, err := ReadEnvFile(path, settings)
	slices.Sort(set)
	if err != nil || !slices.Equal(set, []string{"LISTEN_ADDR", "SECRET_KEY"}) {
		t.Errorf("got %q, %v", set, err)
	}
	for name, want := range map[string]string{"LISTEN_ADDR": ":1", "SECRET_KEY": "a$b#c+/=", "DATA_DIR": "mine", "REDIS_URL": "", "OTHER": "two\nlines"} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if set, err := ReadEnvFile(t.TempDir(), settings); set != nil || err != nil {
		t.Errorf("a directory: %q, %v", set, err)
	}
}

func TestReadEnvFile_NamesTheLineAndQuotesNothing(t *testing.T) {
	path, write := envFile(t)
	for text, line := range map[string]string{
		"A=1\nhunter2\n": "line 2 ", "A='x\ny'\n\nB hunter2=1\nC=1": "line 4 ", "hunter2": "line 1 ", "=hunter2": "line 1 ", "A=1\nB=\"hunter2\n": "line 2 ",
	} {
		write(text)
		if _, err := ReadEnvFile(path, nil); err == nil || !strings.Contains(err.Error(), line+"is not NAME=value") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want %s", text, err, line)
		}
	}
}

// TestReadEnvFile_TakesValuesAsTheyAre: a password with a dollar sign is not cut.
func TestReadEnvFile_TakesValuesAsTheyAre(t *testing.T) {
	values, line := parseEnvFile("A=pa$WORD\nB=\"x$Y9\"\nC=p@ss$1x\nD='${E}'\nF=${A}\n")
	want := map[string]string{"A": "pa$WORD", "B": "x$Y9", "C": "p@ss$1x", "D": "${E}", "F": "${A}"}
	if line != 0 || !maps.Equal(values, want) {
		t.Errorf("got %q, line %d, want %q", values, line, want)
	}
}

// TestReadEnvFile_RefusesUnsafeFiles: one that anybody may change, and one that is too large.
func TestReadEnvFile_RefusesUnsafeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	for what, c := range map[string]struct {
		size int
		mode os.FileMode
		want string
	}{
		"writable": {1, 0o666, "chmod o-w"},
		"large":    {maxEnvFile + 1, 0o600, "at most 64 KiB"},
	} {
		if err := os.WriteFile(path, bytes.Repeat([]byte("\n"), c.size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadEnvFile(path, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}
