package arch

import (
	"encoding/json"
	"errors"
	"io"
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
	"internal/cli":       {"auth", "importer", "internal/app", "internal/config", "kv", "kv/redisconn", "auth/identifier", "auth/password", "django"},
	"internal/app":       {"auth", "db", "django", "docs", "handlers", "internal/config", "kv", "kv/embedded", "kv/redisconn", "mail", "web", "web/logging", "web/metrics", "web/netlimit", "web/sessions", "internal/reqstats", "auth/password"},
	"internal/config":    {"auth", "django", "kv/redisconn", "web/cookies", "web/sessions", "auth/identifier"},
	"handlers":           {"auth", "templates", "web", "web/problem", "web/redirect", "docs", "auth/identifier"},
	"web":                {"auth", "auth/identifier", "static", "templates", "internal/reqstats", "web/cookies", "web/logging", "web/metrics", "web/netlimit", "web/problem", "web/redirect", "web/sessions"},
	"web/cookies":        {"auth"},
	"web/logging":        {"auth"},
	"web/metrics":        {"auth", "internal/reqstats"},
	"web/netlimit":       {},
	"web/problem":        {},
	"web/redirect":       {},
	"web/sessions":       {"auth"},
	"templates":          {"auth"},
	"db":                 {"auth", "migrations", "internal/reqstats", "auth/identifier"},
	"kv":                 {"auth", "internal/reqstats", "kv/redisconn"},
	"kv/embedded":        {"kv/redisconn"},
	"kv/redisconn":       {"auth", "internal/reqstats"},
	"django":             {"auth", "kv/redisconn"},
	"mail":               {"auth", "templates"},
	"auth":               {"auth/identifier", "auth/password"},
	"auth/identifier":    {},
	"auth/password":      {},
	"docs":               {},
	"importer":           {},
	"migrations":         {},
	"static":             {},
	"clients/go":         {},
	"clients/go/example": {"clients/go"},
	"internal/reqstats":  {},
	"internal/vectors":   {"auth"},
}

// others are all the modules of others that a package may import, where that is a promise to its users.
var others = map[string][]string{
	"clients/go":         {"github.com/gomodule/redigo"},
	"clients/go/example": {},
}

// transports are packages for HTTP, HTML, SQL and Redis, which the rules must not know.
var transports = []string{
	"net/http", "database/sql", "html/template", "github.com/jmoiron/sqlx", "github.com/gomodule/redigo",
	"github.com/lib/pq", "modernc.org/sqlite", "github.com/labstack/echo", "github.com/alexedwards/scs",
}

// forbidden are packages of others, with what is below them, that a package must not know.
var forbidden = map[string][]string{
	"auth": transports, "auth/identifier": transports, "auth/password": transports,
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

// forTests are packages (with what is below them) that only tests may import; they may
// import what they like.
var forTests = []string{"auth/authtest", "django/djangotest", "internal/e2e/kit", "internal/testkit", "kv/kvtest"}

// toolsOnly are packages that nobody imports.
var toolsOnly = []string{"internal/arch", "internal/bench", "internal/e2e", "internal/check"}

// pkg is what go list says of a package. Imports are those of its code, not of its tests.
type pkg struct {
	ImportPath string
	Imports    []string
}

func TestArrowsPointDown(t *testing.T) {
	packages := list(t)
	for _, fault := range faults(packages) {
		t.Error(fault)
	}
}

// TestFaultsAreFound shows that the test above can fail.
func TestFaultsAreFound(t *testing.T) {
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
		{"gatehouse/newcomer", "fmt", false},
		{"gatehouse/newcomer", "gatehouse/auth", false},
	} {
		found := faults([]pkg{{c.from, []string{c.to}}})
		if c.good != (len(found) == 0) {
			t.Errorf("%s → %s: found %q", c.from, c.to, found)
		}
	}
}

// faults returns what is wrong, a line each.
func faults(packages []pkg) []string {
	var all []string
	for _, p := range packages {
		name := ours(p.ImportPath)
		if within(name, forTests) || within(name, toolsOnly) {
			all = append(all, into(p, toolsOnly, nil)...)
			continue
		}
		may, known := allowed[name]
		if !known {
			all = append(all, p.ImportPath+" has no line in this test that says what it may import")
			continue
		}
		all = append(all, into(p, forbidden[name], may)...)
		if only, promised := others[name]; promised {
			all = append(all, beyond(p, only)...)
		}
	}
	return all
}

// beyond returns the arrows of a package into modules of others that are not among only.
func beyond(p pkg, only []string) []string {
	var all []string
	for _, path := range p.Imports {
		host, _, _ := strings.Cut(path, "/")
		// The standard library has no dot in its first part.
		if strings.Contains(host, ".") && !isOurs(path) && !within(path, only) {
			all = append(all, p.ImportPath+" must not import "+path)
		}
	}
	return all
}

// into returns the arrows of a package into those that are forbidden, or into packages of
// ours that are not allowed (nil allows all of them).
func into(p pkg, forbidden, may []string) []string {
	var all []string
	for _, path := range p.Imports {
		if within(ours(path), forbidden) || isOurs(path) && may != nil && !slices.Contains(may, ours(path)) {
			all = append(all, p.ImportPath+" must not import "+path)
		}
	}
	return all
}

// ours returns the path of a package of ours below the repository, "" for the program itself; others' stay as they are.
func ours(path string) string {
	if path == module {
		return ""
	}
	if within(path, []string{readerModule}) {
		return strings.TrimPrefix(path, "gatehouse.internal/")
	}
	return strings.TrimPrefix(path, module+"/")
}

func isOurs(path string) bool { return within(path, []string{module, readerModule}) }

// within reports whether a package is one of the list or below one.
func within(path string, list []string) bool {
	return slices.ContainsFunc(list, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...", readerModule+"/...").Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %s", failed.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
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
