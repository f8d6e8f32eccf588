package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "gatehouse"

// readerModule is the module of the Go session reader, in clients/go.
const readerModule = "gatehouse.internal/clients/go"

// allowed lists the packages of this module that a package may import. A new package needs a line here.
var allowed = map[string][]string{
	"":                   {"internal/cli"},
	"internal/cli":       {"internal/launcher", "auth", "importer", "internal/app", "internal/config", "kv", "kv/redisconn", "auth/identifier", "auth/password", "django"},
	"internal/app":       {"internal/launcher", "auth", "db", "django", "docs", "handlers", "internal/config", "kv", "kv/embedded", "kv/redisconn", "web", "web/logging", "web/metrics", "web/netlimit", "web/sessions", "internal/reqstats", "auth/password"},
	"internal/launcher":  {"auth/identifier"},
	"internal/config":    {"auth", "db", "django", "kv/redisconn", "web/cookies", "web/sessions", "auth/identifier"},
	"handlers":           {"internal/launcher", "auth", "auth/userlist", "templates", "web", "web/problem", "web/redirect", "auth/identifier", "auth/locale", "auth/timezone"},
	"web":                {"auth", "auth/identifier", "static", "templates", "internal/reqstats", "web/cookies", "web/logging", "web/metrics", "web/netlimit", "web/problem", "web/redirect", "web/sessions"},
	"web/cookies":        {"auth"},
	"web/logging":        {"auth"},
	"web/metrics":        {"auth", "internal/reqstats"},
	"web/netlimit":       {},
	"web/problem":        {},
	"web/redirect":       {},
	"web/sessions":       {"auth"},
	"templates":          {"auth", "auth/locale", "auth/timezone"},
	"db":                 {"auth", "migrations", "internal/reqstats", "auth/identifier", "auth/userlist", "db/unprepared"},
	"db/unprepared":      {},
	"kv":                 {"auth", "internal/reqstats", "kv/redisconn"},
	"kv/embedded":        {"kv/redisconn"},
	"kv/redisconn":       {"auth", "internal/reqstats"},
	"django":             {"auth", "kv/redisconn"},
	"auth":               {"auth/identifier", "auth/password", "auth/localstate", "auth/mac", "auth/preference", "auth/timezone", "auth/tokensecret", "auth/userlist"},
	"auth/identifier":    {},
	"auth/locale":        {"auth/timezone"},
	"auth/localstate":    {},
	"auth/mac":           {},
	"auth/preference":    {"auth/locale"},
	"auth/password":      {},
	"auth/timezone":      {},
	"auth/tokensecret":   {},
	"auth/userlist":      {},
	"docs":               {},
	"importer":           {},
	"migrations":         {},
	"static":             {},
	"clients/go":         {},
	"clients/go/example": {"clients/go"},
	"internal/reqstats":  {},
	"internal/vectors":   {"auth"},
}

// onlyModules lists the third-party modules that a package may import. Few dependencies are a promise to
// the package's users.
var onlyModules = map[string][]string{
	"clients/go":         {"github.com/gomodule/redigo"},
	"clients/go/example": {},
}

// transports are the packages for HTTP, HTML, SQL and Redis, which the business rules must not import.
var transports = []string{
	"net/http", "database/sql", "html/template", "github.com/jmoiron/sqlx", "github.com/gomodule/redigo",
	"github.com/lib/pq", "modernc.org/sqlite", "github.com/labstack/echo", "github.com/alexedwards/scs",
}

// forbidden lists the external packages, with those below them, that a package must not import.
var forbidden = map[string][]string{
	"auth": transports, "auth/identifier": transports, "auth/password": transports,
	"auth/locale": transports, "auth/localstate": transports, "auth/mac": transports, "auth/preference": transports, "auth/timezone": transports, "auth/tokensecret": transports,
	"auth/userlist": transports,
	"handlers": {
		"database/sql", "github.com/jmoiron/sqlx", "github.com/gomodule/redigo", "github.com/labstack/echo",
		"github.com/alexedwards/scs", "github.com/lib/pq", "modernc.org/sqlite",
	},
	"web":          {"database/sql", "github.com/jmoiron/sqlx", "github.com/gomodule/redigo", "github.com/lib/pq", "modernc.org/sqlite"},
	"web/cookies":  {"github.com/labstack/echo"},
	"web/logging":  {"github.com/labstack/echo"},
	"web/metrics":  {"github.com/labstack/echo"},
	"web/netlimit": {"github.com/labstack/echo"},
	"web/problem":  {"github.com/labstack/echo"},
	"web/redirect": {"github.com/labstack/echo"},
	"web/sessions": {"github.com/labstack/echo", "net/http"},
	"db":           {"net/http", "github.com/gomodule/redigo", "github.com/labstack/echo", "github.com/alexedwards/scs"},
	"kv":           {"net/http", "database/sql", "github.com/jmoiron/sqlx", "github.com/labstack/echo"},
	"kv/embedded":  {"net/http", "database/sql", "github.com/gomodule/redigo", "github.com/alexedwards/scs"},
	"kv/redisconn": {"net/http", "database/sql", "github.com/alexedwards/scs"},
}

// exclusive maps an external package, with those below it, to the only packages that may import it,
// also in their tests: Echo's types stay in web, so that a new version changes web alone.
var exclusive = map[string][]string{
	"github.com/labstack/echo": {"web", "internal/bench"}, // bench compares Gatehouse with plain Echo
}

// testOnly are the packages, with those below them, that only tests and commands for development may
// import. Their own imports are unrestricted.
var testOnly = []string{"auth/authtest", "django/djangotest", "internal/e2e/kit", "internal/testkit", "kv/kvtest"}

// leaves are the packages, with those below them, that no other package may import, except in tests. They may import
// packages below themselves.
var leaves = []string{"internal/arch", "internal/bench", "internal/e2e", "internal/check"}

// pkg is a package as go list prints it. Imports are those of its code, not of its tests.
type pkg struct {
	ImportPath, Dir                    string
	Imports, TestImports, XTestImports []string
}

func TestImports_PointDown(t *testing.T) {
	for _, violation := range violations(list(t)) {
		t.Error(violation)
	}
}

func TestRules_HaveNoDeadLines(t *testing.T) {
	for _, line := range deadLines(list(t)) {
		t.Error(line)
	}
}

func TestViolations_FindsForbiddenImports(t *testing.T) {
	for _, c := range []struct {
		from, to string
		good     bool
	}{
		{"gatehouse", "gatehouse/internal/cli", true},
		{"gatehouse", "gatehouse/web", false},
		{"gatehouse/internal/cli", "gatehouse/internal/app", true},
		{"gatehouse/internal/app", "gatehouse/internal/cli", false},
		{"gatehouse/internal/config", "gatehouse/internal/app", false},
		{"gatehouse", "gatehouse/templates", false},
		{"gatehouse/handlers", "gatehouse/web", true},
		{"gatehouse/handlers", "gatehouse/kv", false},
		{"gatehouse/handlers", "github.com/labstack/echo/v4", false},
		{"gatehouse/handlers", "github.com/gomodule/redigo/redis", false},
		{"gatehouse/handlers", "github.com/mileusna/useragent", true},
		{"gatehouse/web", "gatehouse/handlers", false},
		{"gatehouse/web", "gatehouse", false},
		{"gatehouse/auth", "gatehouse/db", false},
		{"gatehouse/auth", "net/http", false},
		{"gatehouse/auth", "net/http/httptest", false},
		{"gatehouse/auth", "net/mail", true},
		{"gatehouse/auth", "database/sql", false},
		{"gatehouse/auth", "gatehouse/auth/password", true},
		{"gatehouse/auth/password", "gatehouse/auth", false},
		{"gatehouse/auth/password", "net/http", false},
		{"gatehouse/static", "gatehouse/auth", false},
		{"gatehouse/kv", "gatehouse/db", false},
		{"gatehouse/db", "gatehouse/internal/testkit", false},
		{"gatehouse", "gatehouse/internal/testkit/servers", false},
		{"gatehouse/web", "gatehouse/auth/authtest", false},
		{"gatehouse/auth/authtest", "gatehouse/auth", true},
		{"gatehouse/internal/testkit", "gatehouse/internal/testkit/servers", true},
		{"gatehouse/internal/testkit", "gatehouse/internal/e2e", false},
		{"gatehouse/internal/check", "gatehouse/internal/check/pictures", true},
		{"gatehouse/internal/e2e", "gatehouse/internal/check/pictures", false},
		{"gatehouse/web", "gatehouse/internal/e2e/kit", false},
		{"gatehouse/internal/e2e/kit", "gatehouse/handlers", true},
		{"gatehouse.internal/clients/go", "net/http", true},
		{"gatehouse.internal/clients/go", "github.com/gomodule/redigo/redis", true},
		{"gatehouse.internal/clients/go", "github.com/google/uuid", false},
		{"gatehouse.internal/clients/go", "gatehouse/auth", false},
		{"gatehouse.internal/clients/go/example", "gatehouse.internal/clients/go", true},
		{"gatehouse.internal/clients/go/example", "github.com/gomodule/redigo/redis", false},
		{"gatehouse/internal/vectors", "gatehouse/auth", true},
		{"gatehouse/web", "gatehouse.internal/clients/go", false},
		{"gatehouse/unknown", "fmt", false},
		{"gatehouse/unknown", "gatehouse/auth", false},
	} {
		found := violations([]pkg{{ImportPath: c.from, Imports: []string{c.to}}})
		if c.good != (len(found) == 0) {
			t.Errorf("%s → %s: found %q", c.from, c.to, found)
		}
	}
}

func TestViolations_FindsExclusivePackagesInTests(t *testing.T) {
	for from, want := range map[string]int{"gatehouse/web": 0, "gatehouse/handlers": 1, "gatehouse/internal/e2e/api": 1} {
		found := violations([]pkg{{ImportPath: from, XTestImports: []string{"github.com/labstack/echo/v4/middleware"}}})
		if len(found) != want {
			t.Errorf("%s: found %q", from, found)
		}
	}
}

// violations returns a line for each import that breaks a rule.
func violations(packages []pkg) []string {
	var all []string
	for _, p := range packages {
		name := relative(p.ImportPath)
		for external, users := range exclusive {
			if !slices.Contains(users, name) {
				all = append(all, refuse(p.ImportPath, slices.Concat(p.Imports, p.TestImports, p.XTestImports), func(path string) bool {
					return below(path, []string{external})
				})...)
			}
		}
		if below(name, testOnly) || below(name, leaves) {
			all = append(all, refuse(p.ImportPath, p.Imports, func(path string) bool {
				return below(relative(path), leaves) && !below(relative(path), []string{name})
			})...)
			continue
		}
		may, known := allowed[name]
		if !known {
			all = append(all, p.ImportPath+" has no entry in allowed")
			continue
		}
		all = append(all, refuse(p.ImportPath, p.Imports, func(path string) bool {
			return below(path, forbidden[name]) || own(path) && !slices.Contains(may, relative(path))
		})...)
		if only, promised := onlyModules[name]; promised {
			all = append(all, refuse(p.ImportPath, p.Imports, func(path string) bool { return external(path) && !below(path, only) })...)
		}
	}
	return all
}

// refuse returns a line for each of the imported paths that breaks a rule.
func refuse(importer string, paths []string, breaks func(path string) bool) []string {
	var all []string
	for _, path := range paths {
		if breaks(path) {
			all = append(all, importer+" must not import "+path)
		}
	}
	return all
}

// deadLines returns a line for each rule about a package that does not exist, and for each allowed
// import that nothing uses.
func deadLines(packages []pkg) []string {
	var all []string
	exists := func(name string) bool {
		return slices.ContainsFunc(packages, func(p pkg) bool { return below(relative(p.ImportPath), []string{name}) })
	}
	for _, name := range slices.Concat(testOnly, leaves, slices.Collect(maps.Keys(forbidden)), slices.Collect(maps.Keys(onlyModules))) {
		if !exists(name) {
			all = append(all, "there is a rule for "+name+", but no such package")
		}
	}
	for name, may := range allowed {
		i := slices.IndexFunc(packages, func(p pkg) bool { return relative(p.ImportPath) == name })
		if i < 0 {
			all = append(all, "there is a rule for "+name+", but no such package")
			continue
		}
		for _, path := range may {
			if !slices.ContainsFunc(packages[i].Imports, func(imported string) bool { return relative(imported) == path }) {
				all = append(all, name+" may import "+path+", but does not")
			}
		}
	}
	return all
}

// own reports whether a package belongs to this repository.
func own(path string) bool { return below(path, []string{module, readerModule}) }

// external reports whether a package is third-party: the first element of its path has a dot,
// unlike in the standard library.
func external(path string) bool {
	host, _, _ := strings.Cut(path, "/")
	return strings.Contains(host, ".") && !own(path)
}

// relative returns the directory of an own package, "" for the root package. It does not change other
// paths.
func relative(path string) string {
	if path == module {
		return ""
	}
	if own(path) {
		_, path, _ = strings.Cut(path, "/")
	}
	return path
}

// below reports whether a package is one of the list or below one.
func below(path string, list []string) bool {
	return slices.ContainsFunc(list, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

// list returns the packages of the repository, including those of clients/go.
func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports", module+"/...", readerModule+"/...").Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %s", failed.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
