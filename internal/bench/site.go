//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/alexedwards/argon2id"
	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
	"github.com/lib/pq"

	hashing "gatehouse/auth/password"
	"gatehouse/internal/testkit/servers"
)

const (
	// password is that of all users; it needs no escaping in a form.
	password = "six-otters-borrow-umbrellas"
	// reader is the user who requests the pages.
	reader = "reader"
	// stormName is followed by a number in the names of the users in the sign-in storm.
	stormName  = "storm"
	stormUsers = 4096
)

// site is a private Postgres, a private Redis and the built gatehouse.
type site struct {
	postgres  *servers.Postgres
	redis     *servers.Redis
	gatehouse program
}

// newSite starts the stores, builds gatehouse and seeds users.
func newSite(ctx context.Context) (s *site, err error) {
	s = &site{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.postgres, err = servers.NewPostgres(); err != nil {
		return nil, err
	}
	if s.redis, err = servers.NewRedis(); err != nil {
		return nil, err
	}
	dir, err := servers.TempDir("site")
	if err != nil {
		return nil, err
	}
	metrics, err := servers.FreePort()
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	s.gatehouse = program{
		path:  filepath.Join(dir, "gatehouse"),
		args:  []string{"serve"},
		ready: "/healthz",
		env: map[string]string{
			"DATABASE_URL": s.postgres.URL(),
			"REDIS_URL":    s.redis.URL(),
			"SECRET_KEY":   base64.StdEncoding.EncodeToString(secret),
			"DATA_DIR":     filepath.Join(dir, "data"),
			"METRICS_ADDR": fmt.Sprintf("127.0.0.1:%d", metrics),
		},
	}
	if err := build(ctx, s.gatehouse.path, "-ldflags=-s -w"); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	return s, s.seed(ctx)
}

func (s *site) stop() error {
	var errs []error
	if s.postgres != nil {
		errs = append(errs, s.postgres.Remove())
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Remove())
	}
	return errors.Join(errs...)
}

// build builds gatehouse like a release: without cgo and the race detector.
func build(ctx context.Context, path string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-trimpath", "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "gatehouse")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}

func (s *site) migrate(ctx context.Context) error {
	p := s.gatehouse
	p.args = []string{"migrate", "up"}
	cmd, _, err := p.command()
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("migrate: %w\n%s", errors.Join(err, ctx.Err()), out)
	}
	return nil
}

// seed creates the users. They share one hash.
func (s *site) seed(ctx context.Context) error {
	hash, err := argon2id.CreateHash(password, &hashing.DefaultParams)
	if err != nil {
		return fmt.Errorf("hash a password: %w", err)
	}
	db, err := sql.Open("postgres", s.postgres.URL())
	if err != nil {
		return err
	}
	defer db.Close()
	ids, names := []string{uuid.Must(uuid.NewV7()).String()}, []string{reader}
	for i := range stormUsers {
		ids = append(ids, uuid.Must(uuid.NewV7()).String())
		names = append(names, fmt.Sprint(stormName, i+1))
	}
	const insert = `INSERT INTO users (id, username, name, time_zone, password_hash)
		SELECT id, username, 'Ada Lovelace', 'Europe/Berlin', $3 FROM unnest($1::uuid[], $2::text[]) AS seed (id, username)`
	if _, err := db.ExecContext(ctx, insert, pq.Array(ids), pq.Array(names), hash); err != nil {
		return fmt.Errorf("seed users: %w", err)
	}
	_, err = db.ExecContext(ctx, `VACUUM ANALYZE users`) // otherwise autovacuum does it during a measurement
	return err
}

// client does not follow redirects.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// signIn posts the sign-in form and returns a header with the cookies of the response.
func signIn(ctx context.Context, base string) (string, error) {
	form := url.Values{"username": {reader}, "password": {password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("sign in: status %s", resp.Status)
	}
	var cookies []string
	for _, c := range resp.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	return "Cookie: " + strings.Join(cookies, "; "), nil
}

func basicHeader() string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(reader+":"+password))
}

// newToken creates an API token and returns the header that sends it.
func newToken(ctx context.Context, base string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/tokens", strings.NewReader(`{"name":"bench"}`))
	if err != nil {
		return "", err
	}
	setHeaders(req, []string{basicHeader(), "Content-Type: application/json"})
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("create a token: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("create a token: %w", err)
	}
	var created struct{ Token string }
	if err := json.Unmarshal(body, &created); err != nil || created.Token == "" {
		return "", fmt.Errorf("create a token: status %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return "Authorization: Bearer " + created.Token, nil
}

func setHeaders(req *http.Request, headers []string) {
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
}

// dropCredential deletes the cached credential of the reader. The cache is in the next database of Redis.
func (s *site) dropCredential() error {
	conn, err := redis.DialURL(s.redis.URL() + "/1")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Do("DEL", "credential:"+reader+":127.0.0.1")
	return err
}
