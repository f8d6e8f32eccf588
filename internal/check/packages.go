//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// machine is where the gate looks for programs.
type machine struct {
	path     string // directories, as in PATH
	postgres string // a pattern for the directories of Postgres servers outside of PATH
	headers  string // the directory with the C library's headers
	python   string // the directory with the modules of Debian's Python
	php      string // a pattern for the directories of PHP's extensions
}

// requirement is something that tests need and the Debian packages that bring it.
type requirement struct {
	met      func(machine) bool
	packages []string
}

// requirements are looked for as programs, not as packages, wherever they came from. Fonts
// and headers are named because a package only recommends them.
var requirements = []requirement{
	{program("gcc"), []string{"gcc", "libc6-dev"}}, // the race detector links through cgo
	{machine.hasHeaders, []string{"libc6-dev"}},
	{machine.hasPostgres, []string{"postgresql"}},
	{program("pgbouncer"), []string{"pgbouncer"}},
	{program("redis-server"), []string{"redis-server"}},
	{program("nginx"), []string{"nginx"}},
	{program("openssl"), []string{"openssl"}},
	{program("chromium"), []string{"chromium", "fonts-liberation"}},
	{program("java"), []string{"default-jre-headless"}},
	{program("node"), []string{"nodejs"}},
	{program("npm"), []string{"npm"}},
	{program("curl"), []string{"curl"}},
	{program("caddy"), []string{"caddy"}},
	{program("haproxy"), []string{"haproxy"}},
	{program("php"), []string{"php-cli"}},
	{program("php-cgi"), []string{"php-cgi"}},
	{machine.hasPHPRedis, []string{"php-redis"}},
	{pythonModule("requests"), []string{"python3-requests"}},
	{pythonModule("redis"), []string{"python3-redis"}},
	{pythonModule("flask"), []string{"python3-flask"}},
	{pythonModule("django"), []string{"python3-django"}},
	{pythonModule("redis_sessions"), []string{"python3-django-redis-sessions"}},
	{pythonModule("gunicorn"), []string{"gunicorn"}}, // the program may be another Python's
}

// benchRequirements come on top for the benchmarks.
var benchRequirements = []requirement{
	{program("wrk"), []string{"wrk"}},
}

func thisMachine() machine {
	return machine{
		path:     os.Getenv("PATH") + ":/usr/sbin:/sbin",
		postgres: "/usr/lib/postgresql/*/bin",
		headers:  "/usr/include",
		python:   "/usr/lib/python3/dist-packages",
		php:      "/usr/lib/php/*",
	}
}

func program(name string) func(machine) bool {
	return func(m machine) bool { return m.has(name) }
}

func (m machine) has(name string) bool {
	return slices.ContainsFunc(filepath.SplitList(m.path), func(dir string) bool {
		return dir != "" && executable(filepath.Join(dir, name))
	})
}

func (m machine) hasPostgres() bool {
	if m.has("postgres") && m.has("initdb") {
		return true
	}
	found, err := filepath.Glob(filepath.Join(m.postgres, "initdb"))
	return err == nil && slices.ContainsFunc(found, executable)
}

func (m machine) hasHeaders() bool {
	_, err := os.Stat(filepath.Join(m.headers, "stdlib.h"))
	return err == nil
}

func (m machine) hasPHPRedis() bool {
	found, err := filepath.Glob(filepath.Join(m.php, "redis.so"))
	return err == nil && len(found) > 0
}

func pythonModule(name string) func(machine) bool {
	return func(m machine) bool {
		_, err := os.Stat(filepath.Join(m.python, name, "__init__.py"))
		return err == nil
	}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// missingPackages lists, in order and once each, the Debian packages that m still needs.
func missingPackages(m machine, needs []requirement) []string {
	var missing []string
	for _, r := range needs {
		if r.met(m) {
			continue
		}
		for _, name := range r.packages {
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

func (g *gate) installPackages(ctx context.Context) error { return g.install(ctx, requirements) }

func (g *gate) installBenchPackages(ctx context.Context) error {
	return g.install(ctx, slices.Concat(requirements, benchRequirements))
}

// install installs what is missing if we may, and names it if not.
func (g *gate) install(ctx context.Context, needs []requirement) error {
	missing := missingPackages(thisMachine(), needs)
	if len(missing) == 0 {
		return nil
	}
	install := "apt-get install --no-install-recommends " + strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return fmt.Errorf("the tests need packages that this machine lacks; as root:\n%s", install)
	}
	fmt.Fprintln(g.out, "installing", strings.Join(missing, " "))
	if err := g.aptGet(missing); err != nil {
		return err
	}
	if left := missingPackages(thisMachine(), needs); len(left) > 0 {
		return fmt.Errorf("installed, yet not found: what %s should bring", strings.Join(left, " "))
	}
	return ctx.Err()
}

// aptGet is not interrupted by signals, since half an installation is worse than a late
// answer. Package lists that cannot be renewed may still do.
func (g *gate) aptGet(packages []string) error {
	allow, err := forbidServices(policyFile)
	if err != nil {
		return err
	}
	defer allow()
	if err := g.apt("update"); err != nil {
		fmt.Fprintln(g.out, "apt-get update:", err)
	}
	return g.apt(append([]string{"install", "--yes", "--no-install-recommends"}, packages...)...)
}

func (g *gate) apt(args ...string) error {
	ctx := context.Background()
	cmd := g.command(ctx, "apt-get", append([]string{"-q", "-o", "Dpkg::Use-Pty=0"}, args...)...)
	cmd.Env = append(slices.Clip(g.env), "DEBIAN_FRONTEND=noninteractive")
	return finish(ctx, cmd)
}

// policyFile is asked by Debian's packages before they start a service (invoke-rc.d(8)).
const policyFile = "/usr/sbin/policy-rc.d"

// forbidServices keeps freshly installed servers from starting on the standard ports. The
// result undoes it; a policy that the machine has already is left alone.
func forbidServices(path string) (undo func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("forbid services to start: %w", err)
	}
	_, err = file.WriteString("#!/bin/sh\nexit 101\n")
	if err := errors.Join(err, file.Chmod(0o755), file.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return func() error { return os.Remove(path) }, nil
}
