package testkit

import (
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPostgresURLIsAnEmptyDatabaseOfItsOwn(t *testing.T) {
	first, second := PostgresURL(t), PostgresURL(t)
	if first == second {
		t.Fatalf("the same database twice: %s", first)
	}
	if err := execSQL(first, "CREATE TABLE note (text text)"); err != nil {
		t.Fatal(err)
	}
	if err := execSQL(second, "SELECT * FROM note"); err == nil {
		t.Error("a table of one database is seen in the other")
	}
}

func TestPostgresURLDropsItsDatabase(t *testing.T) {
	var gone string
	t.Run("use one", func(t *testing.T) {
		gone = PostgresURL(t)
		db, err := sql.Open("postgres", gone)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(); err != nil { // stays connected
			t.Fatal(err)
		}
	})
	if err := execSQL(gone, "SELECT 1"); err == nil {
		t.Error("the database outlived its test")
	}
}

func TestPostgresSurvivesKill(t *testing.T) {
	p := StartPostgres(t)
	if err := execSQL(p.URL(), "CREATE TABLE note (text text)"); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := execSQL(p.URL(), "SELECT 1"); err == nil {
		t.Fatal("a killed server answers")
	}
	p.Start()
	if err := execSQL(p.URL(), "SELECT * FROM note"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	p.Stop()
	p.Start()
	if err := execSQL(p.URL(), "SELECT * FROM note"); err != nil {
		t.Errorf("after an orderly restart: %v", err)
	}
}

func TestPostgresPausesOpenConnections(t *testing.T) {
	p := StartPostgres(t)
	db, err := sql.Open("postgres", p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	p.Pause()
	answered := make(chan error, 1)
	go func() { _, err := db.Exec("SELECT 1"); answered <- err }()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered (%v)", err)
	case <-time.After(100 * time.Millisecond):
	}
	p.Resume()
	if err := <-answered; err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

func TestRedisStartsAgainOnTheSamePort(t *testing.T) {
	r := StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	if got := redisDo(t, r, "SET k v"); got != "+OK" {
		t.Fatalf("SET: %s", got)
	}
	r.Kill()
	if conn, err := net.Dial("tcp", r.Addr()); err == nil {
		conn.Close()
		t.Fatal("a killed server accepts connections")
	}
	r.Start()
	if got := redisDo(t, r, "EXISTS k"); got != ":1" {
		t.Errorf("after a restart: %s", got)
	}
	if _, err := os.Stat(r.Socket()); err != nil {
		t.Error(err)
	}
}

func TestRedisPauses(t *testing.T) {
	r := StartRedis(t)
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.Pause()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	buf := make([]byte, 7)
	if n, err := conn.Read(buf); err == nil {
		t.Fatalf("a paused server answered %q", buf[:n])
	}
	r.Resume()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "+PONG\r\n" {
		t.Errorf("after the pause: %q, %v", buf[:n], err)
	}
}

// redisDo sends one inline command and returns the first line of the answer.
func redisDo(t *testing.T, r *Redis, command string) string {
	t.Helper()
	conn, err := net.Dial("unix", r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(buf[:n]), "\r\n")
	return line
}

func TestFreePortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port := FreePort(t)
		if seen[port] {
			t.Fatalf("port %d twice", port)
		}
		seen[port] = true
	}
}

func TestHoldsWithin(t *testing.T) {
	calls := 0
	if !holdsWithin(time.Minute, func() bool { calls++; return calls == 3 }) {
		t.Error("the third call held")
	}
	if holdsWithin(20*time.Millisecond, func() bool { return false }) {
		t.Error("what never holds held")
	}
}

func TestListeningAddr(t *testing.T) {
	for line, want := range map[string]string{
		`time=2026-01-02T03:04:05Z level=INFO msg=listening addr=127.0.0.1:4711`:           "127.0.0.1:4711",
		`time=2026-01-02T03:04:05Z level=INFO msg=listening url=http://x addr=[::1]:4711`:  "[::1]:4711",
		`{"time":"2026-01-02T03:04:05Z","msg":"listening","addr":"127.0.0.1:4711","n":1}`:  "127.0.0.1:4711",
		`{"time":"2026-01-02T03:04:05Z","msg":"metrics listening","addr":"127.0.0.1:1"}`:   "",
		`time=2026-01-02T03:04:05Z level=INFO msg="metrics listening" addr=127.0.0.1:4711`: "",
		`time=2026-01-02T03:04:05Z level=INFO msg=request path=/ msg2=listening`:           "",
	} {
		if got := listeningAddr([]byte(line)); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

// fakeServer logs its environment as the real one logs its address, and obeys SIGTERM.
const fakeServer = `#!/bin/sh
trap 'exit 3' TERM
echo "started with $*"
echo "level=INFO msg=listening addr=$LISTEN_ADDR" >&2
while :; do sleep 0.01; done`

func TestServer(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://a-developers-own")
	binary := filepath.Join(t.TempDir(), "gatehouse")
	if err := os.WriteFile(binary, []byte(fakeServer), 0o700); err != nil {
		t.Fatal(err)
	}
	s := StartServer(t, binary, map[string]string{"LISTEN_ADDR": "127.0.0.1:4711"}, "--migrate")
	if got, want := s.URL(), "http://127.0.0.1:4711"; got != want {
		t.Errorf("URL %s, want %s", got, want)
	}
	if !strings.Contains(s.Log(), "started with serve --migrate") {
		t.Errorf("log: %s", s.Log())
	}
	if strings.Contains(strings.Join(s.cmd.Env, " "), "a-developers-own") {
		t.Error("settings of this process reach the server")
	}
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if code := s.Stop(); code != 3 {
		t.Errorf("Stop of an ended server: exit code %d, want 3", code)
	}
}
