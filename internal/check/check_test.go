//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMissingPackages(t *testing.T) {
	dir := t.TempDir()
	m := machine{path: dir, postgres: filepath.Join(dir, "postgresql", "*", "bin"), headers: dir, python: dir, php: filepath.Join(dir, "php-*")}
	everything := []string{"gcc", "libc6-dev", "postgresql", "pgbouncer", "redis-server", "nginx", "openssl",
		"chromium", "fonts-liberation", "default-jre-headless", "nodejs", "npm", "curl", "caddy", "haproxy", "php-cli", "php-cgi", "php-redis",
		"python3-requests", "python3-redis", "python3-flask", "python3-django", "python3-django-redis-sessions", "gunicorn"}
	if got := missingPackages(m, requirements); !slices.Equal(got, everything) {
		t.Errorf("on an empty machine: %v, want %v", got, everything)
	}

	for _, name := range []string{"gcc", "redis-server", "chromium", "java", "node", "postgresql/15/bin/initdb", "curl",
		"caddy", "haproxy", "php", "redis/__init__.py", "django/__init__.py", "flask"} {
		touch(t, filepath.Join(dir, name), 0o755)
	}
	touch(t, filepath.Join(dir, "nginx"), 0o644) // not a program
	want := []string{"libc6-dev", "pgbouncer", "nginx", "openssl", "npm", "php-cgi", "php-redis", "python3-requests", "python3-flask", "python3-django-redis-sessions", "gunicorn"}
	if got := missingPackages(m, requirements); !slices.Equal(got, want) {
		t.Errorf("with some programs: %v, want %v", got, want)
	}

	if err := os.Remove(filepath.Join(dir, "flask")); err != nil { // a program of that name is no module
		t.Fatal(err)
	}
	for _, name := range []string{"stdlib.h", "pgbouncer", "openssl", "npm", "php-cgi", "php-20220829/redis.so", "requests/__init__.py", "flask/__init__.py",
		"redis_sessions/__init__.py", "gunicorn/__init__.py"} {
		touch(t, filepath.Join(dir, name), 0o755)
	}
	if err := os.Chmod(filepath.Join(dir, "nginx"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := missingPackages(m, requirements); len(got) != 0 {
		t.Errorf("with everything: %v", got)
	}
}

func TestLoadGeneratorIsForBenchmarksOnly(t *testing.T) {
	m := machine{path: t.TempDir()}
	if slices.Contains(missingPackages(m, requirements), "wrk") {
		t.Error("the tests ask for wrk")
	}
	if got := missingPackages(m, benchRequirements); !slices.Equal(got, []string{"wrk"}) {
		t.Errorf("the benchmarks ask for %v", got)
	}
}

func touch(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, mode); err != nil {
		t.Fatal(err)
	}
}

func TestForbidServices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy-rc.d")
	undo, err := forbidServices(path)
	if err != nil {
		t.Fatal(err)
	}
	if !executable(path) {
		t.Error("the policy is not executable")
	}
	again, err := forbidServices(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil || !executable(path) {
		t.Errorf("a policy that was there is gone (%v)", err)
	}
	if err := undo(); err != nil || executable(path) {
		t.Errorf("our own policy is left (%v)", err)
	}
}

func TestInstalledAfter(t *testing.T) {
	dir := t.TempDir()
	marker, lock := filepath.Join(dir, "marker"), filepath.Join(dir, "lock")
	touch(t, lock, 0o644)
	if fresh, err := installedAfter(marker, lock); fresh || err != nil {
		t.Errorf("nothing installed: %v, %v", fresh, err)
	}
	touch(t, marker, 0o644)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(marker, old, old); err != nil {
		t.Fatal(err)
	}
	if fresh, err := installedAfter(marker, lock); fresh || err != nil {
		t.Errorf("an old installation: %v, %v", fresh, err)
	}
	if err := os.Chtimes(lock, old, old); err != nil {
		t.Fatal(err)
	}
	if fresh, err := installedAfter(marker, lock); !fresh || err != nil {
		t.Errorf("a fresh installation: %v, %v", fresh, err)
	}
}

func TestToolEnv(t *testing.T) {
	got := toolEnv([]string{"CGO_ENABLED=0", "PGHOST=db", "HOME=/h", "PATH=/bin"})
	if want := []string{"HOME=/h", "PATH=/bin:/usr/sbin:/sbin"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// events is what go test -json prints of three packages: one fine, one with a failure, a skip
// and a panic, one that does not build.
const events = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestFine"}
{"Action":"output","Package":"m/a","Test":"TestFine","Output":"fine words\n"}
{"Action":"pass","Package":"m/a","Test":"TestFine","Elapsed":0}
{"Action":"pass","Package":"m/a","Elapsed":0.5}
{"Action":"run","Package":"m/b","Test":"TestBad"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"    b_test.go:7: bad words\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad","Elapsed":0}
{"Action":"run","Package":"m/b","Test":"TestIdle"}
{"Action":"output","Package":"m/b","Test":"TestIdle","Output":"=== RUN   TestIdle\n"}
{"Action":"output","Package":"m/b","Test":"TestIdle","Output":"    b_test.go:9: no time\n"}
{"Action":"output","Package":"m/b","Test":"TestIdle","Output":"--- SKIP: TestIdle (0.00s)\n"}
{"Action":"skip","Package":"m/b","Test":"TestIdle","Elapsed":0}
{"Action":"run","Package":"m/b","Test":"TestPanics"}
{"Action":"output","Package":"m/b","Test":"TestPanics","Output":"panic: help\n"}
{"Action":"fail","Package":"m/b","Elapsed":0.5}
{"ImportPath":"m/c","Action":"build-output","Output":"c/c.go:3: undefined: x\n"}
{"ImportPath":"m/c","Action":"build-fail"}
{"Action":"output","Package":"m/c","Output":"FAIL\tm/c [build failed]\n"}
{"Action":"fail","Package":"m/c","Elapsed":0,"FailedBuild":"m/c"}
{"Action":"skip","Package":"m/d","Elapsed":0}
go: a word of its own
`

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	r.list()
	if got, want := r.count(), "1 passed, 3 failed, 1 skipped"; got != want {
		t.Errorf("count %q, want %q", got, want)
	}
	for _, want := range []string{"ok    m/a", "bad words", "FAIL  m/b", "panic: help", "undefined: x",
		"m/b.TestPanics (did not end)", "m/b.TestIdle: b_test.go:9: no time", "go: a word of its own"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "fine words") {
		t.Error("shows the output of a passed test")
	}
	if len(r.wronglySkipped()) != 1 {
		t.Errorf("wrongly skipped: %v", r.wronglySkipped())
	}
}

func TestFuzzFuncs(t *testing.T) {
	source := "func FuzzNext(f *testing.F) {\n}\nfunc FuzzHelper(x int) {}\n// func FuzzNot(f *testing.F)\n" +
		"func FuzzName(fz *testing.F) {}\n"
	if got, want := fuzzFuncs([]byte(source)), []string{"FuzzNext", "FuzzName"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEndedLate(t *testing.T) {
	for out, want := range map[string]bool{
		"--- FAIL: FuzzX (2.01s)\n    context deadline exceeded\n":                                   true,
		"--- FAIL: FuzzX (2.01s)\n    context deadline exceeded\nFailing input written to testdata/": false,
		"--- FAIL: FuzzX (2.01s)\n    x_test.go:3: wrong\n":                                          false,
	} {
		if got := endedLate([]byte(out)); got != want {
			t.Errorf("%q: %v, want %v", out, got, want)
		}
	}
}
