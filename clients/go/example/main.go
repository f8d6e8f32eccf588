// Command example is a small site whose users sign in at Gatehouse. Run it in clients/go:
//
//	REDIS_URL=redis://localhost:6379 BASE_URL=http://localhost:8080 PORT=9000 go run ./example
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	gatehouse "gatehouse.internal/clients/go"
)

func main() {
	if err := run(os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(getenv func(string) string) error {
	reader, err := gatehouse.New(gatehouse.Options{
		RedisURL:     getenv("REDIS_URL"),
		CacheURL:     getenv("CACHE_URL"),
		BaseURL:      getenv("BASE_URL"),
		CookieDomain: getenv("COOKIE_DOMAIN"),
	})
	if err != nil {
		return err
	}
	defer reader.Close()
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", getenv("PORT")),
		Handler:           site(reader),
		ReadHeaderTimeout: 10 * time.Second,
	}
	slog.Info("listening", "addr", server.Addr)
	return server.ListenAndServe()
}

func site(reader *gatehouse.Reader) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", reader.RequireUser(show("home", reader)))
	mux.Handle("GET /open", reader.Identify(show("open", reader)))
	mux.Handle("GET /reports", reader.RequirePermission("reports.view")(show("reports", reader)))
	mux.Handle("GET /whoami", reader.RequireUser(http.HandlerFunc(whoami)))
	return mux
}

// view is the data of a page. User is nil if the visitor is not signed in.
type view struct {
	User            *gatehouse.User
	SignIn, SignOut string
}

func show(page string, reader *gatehouse.Reader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		v := view{gatehouse.UserFrom(r.Context()), reader.SignInURL(r), reader.SignOutURL()}
		if err := pages.ExecuteTemplate(&b, page, v); err != nil {
			slog.Error("cannot render page", "page", page, "err", err)
			http.Error(w, "Something went wrong.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = b.WriteTo(w) // fails only if the client has disconnected
	})
}

func whoami(w http.ResponseWriter, r *http.Request) {
	u := gatehouse.UserFrom(r.Context())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct {
		Username    string   `json:"username"`
		Name        string   `json:"name"`
		Groups      []string `json:"groups"`
		Permissions []string `json:"permissions"`
	}{u.Username, u.Name, u.Groups, u.Permissions})
}

var pages = template.Must(template.New("").Parse(`
{{define "top"}}<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.}}</title>
<style>
:root { color-scheme: light dark; font: 1.125rem/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
a { display: inline-block; padding: .5rem 0; }
</style>
</head>
<body>
<main>{{end}}

{{define "bottom"}}
</main>
</body>
</html>
{{end}}

{{define "list"}}{{range $i, $name := .}}{{if $i}}, {{end}}{{$name}}{{else}}none{{end}}{{end}}

{{define "home"}}{{template "top" "Home"}}
<h1 id="greeting">Hello, {{.User.DisplayName}}</h1>
<p>Your groups: {{template "list" .User.Groups}}.</p>
<p>Your permissions: {{template "list" .User.Permissions}}.</p>
<p><a id="sign-out" href="{{.SignOut}}">Sign out</a></p>{{template "bottom"}}{{end}}

{{define "open"}}{{template "top" "Open to everyone"}}
{{- with .User}}
<h1 id="greeting">Hello, {{.DisplayName}}</h1>{{else}}
<h1 id="greeting">Hello, stranger</h1>
<p><a id="sign-in" href="{{.SignIn}}">Sign in</a></p>{{end}}{{template "bottom"}}{{end}}

{{define "reports"}}{{template "top" "Reports"}}
<h1>Reports</h1>
<p>You need the permission <code>reports.view</code> to see this page.</p>{{template "bottom"}}{{end}}
`))
