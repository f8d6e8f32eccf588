// Package testkit gives tests what they cannot do without: real Postgres and Redis servers,
// the built program, free ports. Only tests import it.
//
// On a machine that lacks a server's programs the test is skipped, and says why. Where
// GATEHOUSE_TEST_REQUIRE_SERVERS is set, as the gate does, it fails.
package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit/servers"
)

// Eventually polls cond every 5 ms until it holds, and fails the test if it does not within
// the timeout; what completes the sentence "waited for …".
func Eventually(t testing.TB, timeout time.Duration, what string, cond func() bool) {
	t.Helper()
	if !holdsWithin(timeout, cond) {
		t.Fatalf("waited %v for %s", timeout, what)
	}
}

func holdsWithin(timeout time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Chromium returns the path of the browser.
func Chromium(t testing.TB) string {
	t.Helper()
	return Tool(t, "chromium", "chromium-browser", "google-chrome")
}

// Tool returns the path of a program, such as nginx or java: the first of the names that is
// installed. Administrators' directories are searched as well as PATH.
func Tool(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
			if path, err := exec.LookPath(candidate); err == nil {
				return path
			}
		}
	}
	lacking(t, names[0]+" is not installed")
	return ""
}

// Python returns the path of Debian's Python, which has the modules, whatever other Python comes
// first in PATH.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	path := Tool(t, "/usr/bin/python3")
	if err := exec.Command(path, "-c", "import "+strings.Join(modules, ", ")).Run(); err != nil {
		lacking(t, path+" lacks one of the modules "+strings.Join(modules, ", ")+" (apt-get install python3-"+strings.Join(modules, " python3-")+")")
	}
	return path
}

// PHP returns the path of PHP, which has the extension.
func PHP(t testing.TB, extension string) string {
	t.Helper()
	path := Tool(t, "php")
	if err := exec.Command(path, "-r", "exit(extension_loaded('"+extension+"') ? 0 : 1);").Run(); err != nil {
		lacking(t, path+" has no extension "+extension+" (apt-get install php-"+extension+")")
	}
	return path
}

// NodeModule returns the path of a file of the npm packages that tests use, such as
// "axe-core/axe.min.js".
func NodeModule(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("GATEHOUSE_TEST_NPM")
	if dir == "" {
		dir = filepath.Join(moduleRoot(t), "tools", "npm")
	}
	path := filepath.Join(dir, "node_modules", name)
	if _, err := os.Stat(path); err != nil {
		lacking(t, path+" is not there (npm ci --ignore-scripts in tools/npm)")
	}
	return path
}

// lacking ends a test on a machine that lacks what it needs.
func lacking(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("GATEHOUSE_TEST_REQUIRE_SERVERS") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// moduleRoot finds go.mod above the directory of the package under test.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("found no go.mod above the package")
		}
		dir = filepath.Dir(dir)
	}
}
