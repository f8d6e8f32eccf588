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

// Eventually polls cond every 5 ms until it returns true, and fails the test after timeout. what
// completes the message "waited 5s for …".
func Eventually(t testing.TB, timeout time.Duration, what string, cond func() bool) {
	t.Helper()
	if !becomesTrue(timeout, cond) {
		t.Fatalf("waited %v for %s", timeout, what)
	}
}

// becomesTrue reports whether cond returns true before the timeout.
func becomesTrue(timeout time.Duration, cond func() bool) bool {
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

// FreePort returns an unused TCP port of 127.0.0.1, a different one on each call.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Chromium returns the path of Chromium or Chrome.
func Chromium(t testing.TB) string {
	t.Helper()
	return Tool(t, "chromium", "chromium-browser", "google-chrome")
}

// Tool returns the path of a program, such as nginx: the first of names that is installed in PATH,
// /usr/sbin or /sbin.
func Tool(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
			if path, err := exec.LookPath(candidate); err == nil {
				return path
			}
		}
	}
	Unavailable(t, names[0]+" is not installed")
	return ""
}

// Python returns the path of Debian's Python, which has the Debian packages of the modules, even
// if another Python comes first in PATH.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	path := Tool(t, "/usr/bin/python3")
	if err := exec.Command(path, "-c", "import "+strings.Join(modules, ", ")).Run(); err != nil {
		Unavailable(t, path+" cannot import "+strings.Join(modules, ", ")+" (apt-get install python3-"+strings.Join(modules, " python3-")+")")
	}
	return path
}

// PHP returns the path of a PHP that has the extension.
func PHP(t testing.TB, extension string) string {
	t.Helper()
	path := Tool(t, "php")
	if err := exec.Command(path, "-r", "exit(extension_loaded('"+extension+"') ? 0 : 1);").Run(); err != nil {
		Unavailable(t, path+" lacks the extension "+extension+" (apt-get install php-"+extension+")")
	}
	return path
}

// NodeModule returns the path of a file in the npm packages of tools/npm, such as
// "axe-core/axe.min.js".
func NodeModule(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("GATEHOUSE_TEST_NPM")
	if dir == "" {
		dir = filepath.Join(moduleRoot(t), "tools", "npm")
	}
	path := filepath.Join(dir, "node_modules", name)
	if _, err := os.Stat(path); err != nil {
		Unavailable(t, path+" does not exist (run npm ci --ignore-scripts in tools/npm)")
	}
	return path
}

// Unavailable skips a test that needs something that is not installed, or fails it if
// GATEHOUSE_TEST_REQUIRE_SERVERS is set.
func Unavailable(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("GATEHOUSE_TEST_REQUIRE_SERVERS") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// moduleRoot returns the directory with go.mod, upward from the working directory: the directory
// of the package under test.
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
			t.Fatal("no go.mod in the parent directories")
		}
		dir = filepath.Dir(dir)
	}
}
