package gatehouse_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gatehouse "gatehouse.internal/clients/go"
)

// vectors is clients/vectors.json.
type vectors struct {
	Now   time.Time
	Cases []struct {
		Name, Want string
		Cookie     *string
		Header     []byte `json:"cookie_header"`
		CookieName string `json:"cookie_name"`
		Redis      []struct {
			Key    string
			Text   *string
			Base64 []byte
		}
		User *gatehouse.User
	}
}

func TestCheck_PassesTheVectors(t *testing.T) {
	raw, err := os.ReadFile("../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Cases) < 200 {
		t.Errorf("got %d cases, want at least 200", len(all.Cases))
	}
	for _, c := range all.Cases {
		values := make(map[string][]byte)
		for _, e := range c.Redis {
			values[e.Key] = e.Base64
			if e.Text != nil {
				values[e.Key] = []byte(*e.Text)
			}
		}
		lookup := func(key string) ([]byte, error) { return values[key], nil }
		var u *gatehouse.User
		if c.Cookie != nil {
			u, err = gatehouse.Check(*c.Cookie, lookup, all.Now)
		} else {
			req := &http.Request{Header: http.Header{"Cookie": {string(c.Header)}}}
			u, err = gatehouse.CheckAll(gatehouse.SessionCookies(req, c.CookieName), lookup, all.Now)
		}
		if got := verdict(u, err); got != c.Want || !reflect.DeepEqual(u, c.User) {
			t.Errorf("%s: %s, %+v; want %s, %+v", c.Name, got, u, c.Want, c.User)
		}
	}
}

func verdict(u *gatehouse.User, err error) string {
	switch {
	case errors.Is(err, gatehouse.ErrUserNotCached) && u == nil:
		return "user not cached"
	case err != nil:
		return err.Error()
	case u == nil:
		return "signed out"
	}
	return "signed in"
}

func TestCheck_ReturnsTheErrorOfLookup(t *testing.T) {
	const cookie, alice = "q83vEjRWeJASNFZ4kBI0VniQEjRWeJASNFZ4kBI0Vng", "01a1fb2c-1ab5-744f-bc47-f808a5349af0"
	session := fmt.Appendf(nil, `{"v":1,"id":"O_VM3f3Al29ouHUF0UsiuvomQji9SK90SrDpTzjsavs","user_id":%q,"epoch":3,"deadline":%q,"idle_seconds":7200}`,
		alice, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	failed := errors.New("no response")
	for _, prefix := range []string{"session:", "user:"} {
		u, err := gatehouse.Check(cookie, func(key string) ([]byte, error) {
			if strings.HasPrefix(key, prefix) {
				return nil, failed
			}
			return session, nil
		}, time.Now())
		if u != nil || !errors.Is(err, failed) {
			t.Errorf("%s got %v, %v", prefix, u, err)
		}
	}
}

func TestNew_RejectsInvalidOptions(t *testing.T) {
	good := gatehouse.Options{RedisURL: "rediss://u:p@redis.example:6380/3", BaseURL: "https://login.example"}
	if _, err := gatehouse.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*gatehouse.Options){
		"no Redis":                     func(o *gatehouse.Options) { o.RedisURL = "" },
		"no host":                      func(o *gatehouse.Options) { o.RedisURL = "redis:///1" },
		"database is not a number":     func(o *gatehouse.Options) { o.RedisURL = "redis://:hunter2@localhost/one" },
		"negative database":            func(o *gatehouse.Options) { o.RedisURL = "redis://:hunter2@localhost/-1" },
		"query":                        func(o *gatehouse.Options) { o.RedisURL = "redis://:hunter2@localhost/1?db=2" },
		"another scheme":               func(o *gatehouse.Options) { o.RedisURL = "postgres://me:hunter2@localhost/1" },
		"user without password":        func(o *gatehouse.Options) { o.RedisURL = "redis://hunter2@localhost" },
		"not a URL":                    func(o *gatehouse.Options) { o.RedisURL = "redis://me:hunter2@local host:%zz" },
		"cache without scheme":         func(o *gatehouse.Options) { o.CacheURL = "localhost:6379" },
		"socket without path":          func(o *gatehouse.Options) { o.CacheURL = "unix://redis.sock" },
		"no base URL":                  func(o *gatehouse.Options) { o.BaseURL = "" },
		"base URL without scheme":      func(o *gatehouse.Options) { o.BaseURL = "login.example" },
		"base URL with another scheme": func(o *gatehouse.Options) { o.BaseURL = "javascript://x" },
		"app URL without scheme":       func(o *gatehouse.Options) { o.AppURL = "app.example" },
	} {
		o := good
		change(&o)
		_, err := gatehouse.New(o)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error contains the password: %v", name, err)
		}
	}
}

func TestUserFrom_IsNilWithoutMiddleware(t *testing.T) {
	if u := gatehouse.UserFrom(context.Background()); u != nil {
		t.Errorf("got %+v", u)
	}
}

const program = `package main

import (
	"net/http"

	gatehouse "gatehouse.internal/clients/go"
)

func main() {
	r, err := gatehouse.New(gatehouse.Options{RedisURL: "redis://localhost", BaseURL: "http://localhost:8080"})
	if err != nil {
		panic(err)
	}
	panic(http.ListenAndServe("localhost:0", r.RequireUser(http.NotFoundHandler())))
}
`

// TestModule_AddsTwoDependencies builds an app that depends on the reader in each of the documented ways. A module proxy
// in a directory replaces the network.
func TestModule_AddsTwoDependencies(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	const module, repository = "gatehouse.internal/clients/go", "git.example.org/team/gatehouse/clients/go"
	dir := t.TempDir()
	serveModule(t, filepath.Join(dir, "proxy"), module, "v0.1.0")
	serveModule(t, filepath.Join(dir, "proxy"), repository, "v0.1.0")
	cache := strings.TrimSpace(run(t, here, nil, "go", "env", "GOMODCACHE"))
	proxies := "file://" + filepath.ToSlash(filepath.Join(dir, "proxy")) + ",file://" + filepath.ToSlash(filepath.Join(cache, "cache", "download"))
	env := []string{"GOFLAGS=-mod=mod -modcacherw -buildvcs=false", "GOPROXY=" + proxies, "GONOSUMDB=*", "GOWORK=off", "GOMODCACHE=" + filepath.Join(dir, "cache")}
	for name, edit := range map[string][]string{
		"from a module proxy": {"-require=" + module + "@v0.1.0"},
		"from a repository":   {"-require=" + module + "@v0.0.0", "-replace=" + module + "=" + repository + "@v0.1.0"},
		"from a copy":         {"-require=" + module + "@v0.0.0", "-replace=" + module + "=" + here},
	} {
		t.Run(name, func(t *testing.T) {
			app := filepath.Join(t.TempDir(), "app")
			write(t, filepath.Join(app, "main.go"), program)
			write(t, filepath.Join(app, "go.mod"), "module example.org/app\n\ngo 1.25.0\n")
			run(t, app, env, append([]string{"go", "mod", "edit"}, edit...)...)
			run(t, app, env, "go", "build", "-o", "app", ".")
			run(t, app, env, "go", "mod", "verify")
			var modules []string
			for line := range strings.Lines(run(t, app, env, "go", "version", "-m", "app")) {
				if f := strings.Fields(line); len(f) > 1 && f[0] == "dep" {
					modules = append(modules, f[1])
				}
			}
			if want := []string{module, "github.com/gomodule/redigo"}; !slices.Equal(modules, want) {
				t.Errorf("the app depends on %q, want %q", modules, want)
			}
		})
	}
}

// serveModule writes this module to a directory in the layout of a module proxy
// (https://go.dev/ref/mod#goproxy-protocol).
func serveModule(t *testing.T, proxy, path, version string) {
	t.Helper()
	at := filepath.Join(proxy, filepath.FromSlash(path), "@v")
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(at, version+".mod"), string(mod))
	write(t, filepath.Join(at, version+".info"), fmt.Sprintf(`{"Version":%q}`, version))
	write(t, filepath.Join(at, "list"), version+"\n")
	file, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for _, name := range []string{"go.mod", "go.sum", "gatehouse.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w, err := archive.Create(path + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir string, env []string, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}
