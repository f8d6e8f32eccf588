//go:build unix

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const sampleTests = `package sample

import "testing"

func TestPasses(t *testing.T) { t.Run("a", func(t *testing.T) {}); t.Run("b", func(t *testing.T) {}) }
func TestSkips(t *testing.T)  { t.Skip("no server") }
func TestFails(t *testing.T)  { t.Error("wrong result") }
`

// TestGotestsum_CountsTests runs gotestsum on a small module. A skipped test is an error.
func TestGotestsum_CountsTests(t *testing.T) {
	t.Chdir("../..")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module sample\n\ngo 1.26.0\n")
	write(t, filepath.Join(dir, "sample_test.go"), sampleTests)
	for _, c := range []struct {
		run, want, message, output string
	}{
		{"-run=TestPasses", "3 passed, 0 failed, 0 skipped in 0s", "", "PASS  . ("},
		{"-run=TestPasses|TestSkips", "3 passed, 0 failed, 1 skipped in 0s", "1 tests were skipped", "no server"},
		{"-run=TestPasses|TestFails", "3 passed, 1 failed, 0 skipped in 0s", "exit status 1", "wrong result"},
		{"-no-such-flag", "0 passed, 1 failed, 0 skipped in 0s", "exit status", "no-such-flag"},
	} {
		var out bytes.Buffer
		check := &check{out: &out, env: os.Environ(), tests: &testCounts{}}
		err := check.gotestsum(t.Context(), dir, []string{c.run})
		if (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want %q", c.run, err, c.message)
		}
		check.tests.took = 0
		if got := check.tests.String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.run, got, c.want)
		}
		if !strings.Contains(out.String(), c.output) {
			t.Errorf("%s: the output lacks %q:\n%s", c.run, c.output, &out)
		}
	}
}

func TestTestCounts_PrintAsOneLine(t *testing.T) {
	counts := &testCounts{total: 10, failed: 2, skipped: 1, took: 8*time.Minute + 3400*time.Millisecond}
	if got, want := counts.String(), "7 passed, 2 failed, 1 skipped in 8m3s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestModules_AreAllChecked fails if a module is missing from allModules.
func TestModules_AreAllChecked(t *testing.T) {
	t.Chdir("../..")
	var found []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git") {
			return fs.SkipDir
		}
		if entry.Name() == "go.mod" {
			found = append(found, filepath.Dir(path))
		}
		return nil
	})
	slices.Sort(found)
	if err != nil || !slices.Equal(found, allModules) {
		t.Errorf("found %q, %v, want %q", found, err, allModules)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
