//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/jmoiron/sqlx"
	"github.com/labstack/echo/v4"
	_ "github.com/lib/pq"
)

// references are the servers to compare with. They follow the documentation of their libraries, and
// have no access log, security headers or limits, unlike Gatehouse.
var references = map[string]func() (http.Handler, error){
	"textbook":    textbook,
	"echo":        bareEcho,
	"nethttp":     bareBytes,
	"naive-basic": naiveBasic,
}

// serveReference runs a reference server on LISTEN_ADDR.
func serveReference(ctx context.Context, name string) error {
	handler, ok := references[name]
	if !ok {
		return fmt.Errorf("unknown reference server %q: use one of %s", name, strings.Join(slices.Sorted(maps.Keys(references)), ", "))
	}
	h, err := handler()
	if err != nil {
		return err
	}
	server := &http.Server{Addr: os.Getenv("LISTEN_ADDR"), Handler: h}
	context.AfterFunc(ctx, func() { server.Close() })
	err = server.ListenAndServe()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func newEcho() *echo.Echo {
	e := echo.New()
	e.GET("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	return e
}

// account is a row of users.
type account struct {
	ID           string `db:"id"`
	Username     string `db:"username"`
	Name         string `db:"name"`
	TimeZone     string `db:"time_zone"`
	Active       bool   `db:"active"`
	PasswordHash string `db:"password_hash"`
}

const selectAccount = `SELECT id, username, name, time_zone, active, password_hash FROM users WHERE `

// textbook combines the libraries like most introductions: scs with its gob codec and redisstore
// around every handler, redigo's pool from its documentation, the default pool of database/sql, a
// SELECT of the user for every page, and html/template straight into the response.
func textbook() (http.Handler, error) {
	db, err := sqlx.Connect("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	redisURL := os.Getenv("REDIS_URL")
	sessions := scs.New()
	sessions.Lifetime = 24 * time.Hour
	sessions.Store = redisstore.New(&redis.Pool{
		MaxIdle:     3,
		IdleTimeout: 240 * time.Second,
		Dial:        func() (redis.Conn, error) { return redis.DialURL(redisURL) },
	})
	page, err := parseDashboard()
	if err != nil {
		return nil, err
	}
	e := newEcho()
	e.Use(echo.WrapMiddleware(sessions.LoadAndSave))
	e.POST("/login", func(c echo.Context) error {
		ctx := c.Request().Context()
		a, err := checkAccount(ctx, db, c.FormValue("username"), c.FormValue("password"))
		if err != nil {
			return err
		}
		if err := sessions.RenewToken(ctx); err != nil {
			return err
		}
		sessions.Put(ctx, "user_id", a.ID)
		return c.Redirect(http.StatusSeeOther, "/dashboard")
	})
	e.GET("/dashboard", func(c echo.Context) error {
		ctx := c.Request().Context()
		id := sessions.GetString(ctx, "user_id")
		if id == "" {
			return c.Redirect(http.StatusSeeOther, "/login")
		}
		var a account
		if err := db.GetContext(ctx, &a, selectAccount+`id = $1`, id); err != nil {
			return err
		}
		if !a.Active {
			return echo.NewHTTPError(http.StatusForbidden)
		}
		return show(c, page, newDashboard(a, "Postgres", time.Now()))
	})
	return e, nil
}

// checkAccount selects the account and hashes the password, every time.
func checkAccount(ctx context.Context, db *sqlx.DB, username, password string) (account, error) {
	var a account
	if err := db.GetContext(ctx, &a, selectAccount+`username = $1`, username); err != nil {
		return account{}, err
	}
	match, err := argon2id.ComparePasswordAndHash(password, a.PasswordHash)
	if err != nil {
		return account{}, err
	}
	if !match {
		return account{}, echo.NewHTTPError(http.StatusUnauthorized)
	}
	return a, nil
}

// fixedAccount is the user of the pages without a session.
var fixedAccount = account{ID: "0", Username: reader, Name: "Ada Lovelace", TimeZone: "Europe/Berlin", Active: true}

// bareEcho renders the page for a fixed user: no session, no SQL.
func bareEcho() (http.Handler, error) {
	page, err := parseDashboard()
	if err != nil {
		return nil, err
	}
	e := newEcho()
	e.GET("/dashboard", func(c echo.Context) error {
		return show(c, page, newDashboard(fixedAccount, "nobody", time.Now()))
	})
	return e, nil
}

// bareBytes sends a page that was rendered once, and at /pass an unconditional 200.
func bareBytes() (http.Handler, error) {
	page, err := parseDashboard()
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if err := page.Execute(&body, newDashboard(fixedAccount, "nobody", time.Now())); err != nil {
		return nil, err
	}
	length := strconv.Itoa(body.Len())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("/pass", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /dashboard", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", length)
		w.Write(body.Bytes())
	})
	return mux, nil
}

// naiveBasic selects the user and hashes the password on every request.
func naiveBasic() (http.Handler, error) {
	db, err := sqlx.Connect("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	e := newEcho()
	e.GET("/api/time", func(c echo.Context) error {
		username, password, _ := c.Request().BasicAuth()
		a, err := checkAccount(c.Request().Context(), db, username, password)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, map[string]any{
			"time": time.Now().UTC(), "timezone": a.TimeZone, "authorized_by": "postgres",
			"user": map[string]string{"id": a.ID, "username": a.Username, "name": a.Name},
		})
	})
	return e, nil
}
