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

func TestPostgresURL_CreatesSeparateDatabases(t *testing.T) {
	first, second := PostgresURL(t), PostgresURL(t)
	if first == second {
		t.Fatalf("two calls returned the same database: %s", first)
	}
	if err := execSQL(first, "CREATE TABLE note (text text)"); err != nil {
		t.Fatal(err)
	}
	if err := execSQL(second, "SELECT * FROM note"); err == nil {
		t.Error("the second database has a table of the first")
	}
}

func TestPostgresURL_DropsTheDatabase(t *testing.T) {
	var dropped string
	t.Run("connect", func(t *testing.T) {
		dropped = PostgresURL(t)
		db, err := sql.Open("postgres", dropped)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(); err != nil { // leaves the connection open
			t.Fatal(err)
		}
	})
	if err := execSQL(dropped, "SELECT 1"); err == nil {
		t.Error("the database still exists after its test")
	}
}

func TestPostgres_RestartsWithItsData(t *testing.T) {
	p := StartPostgres(t)
	if err := execSQL(p.URL(), "CREATE TABLE note (text text)"); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := execSQL(p.URL(), "SELECT 1"); err == nil {
		t.Fatal("a killed server responded")
	}
	p.Start()
	if err := execSQL(p.URL(), "SELECT * FROM note"); err != nil {
		t.Errorf("after Kill and Start: %v", err)
	}
	p.Stop()
	p.Start()
	if err := execSQL(p.URL(), "SELECT * FROM note"); err != nil {
		t.Errorf("after Stop and Start: %v", err)
	}
}

func TestPostgresPause_FreezesOpenConnections(t *testing.T) {
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
		t.Fatalf("a paused server responded (%v)", err)
	case <-time.After(100 * time.Millisecond):
	}
	p.Resume()
	if err := <-answered; err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestRedis_RestartsOnTheSamePort(t *testing.T) {
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
		t.Errorf("after Kill and Start: %s", got)
	}
	if _, err := os.Stat(r.Socket()); err != nil {
		t.Error(err)
	}
}

func TestRedisPause_FreezesOpenConnections(t *testing.T) {
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
		t.Fatalf("a paused server responded %q", buf[:n])
	}
	r.Resume()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "+PONG\r\n" {
		t.Errorf("after Resume: %q, %v", buf[:n], err)
	}
}

// redisDo sends one inline command and returns the first line of the reply.
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

func TestFreePort_IsDifferentEachTime(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port := FreePort(t)
		if seen[port] {
			t.Fatalf("returned port %d twice", port)
		}
		seen[port] = true
	}
}

func TestBecomesTrue_CallsUntilTrueOrTimeout(t *testing.T) {
	calls := 0
	if !becomesTrue(time.Minute, func() bool { calls++; return calls == 3 }) {
		t.Error("got false although the third call returned true")
	}
	if becomesTrue(20*time.Millisecond, func() bool { return false }) {
		t.Error("got true although no call returned true")
	}
}

func TestListeningAddr_ReadsTheLog(t *testing.T) {
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

// fakeServer logs its address like gatehouse, and exits with code 3 on SIGTERM.
const fakeServer = `#!/bin/sh
trap 'exit 3' TERM
echo "started with $*"
echo "level=INFO msg=listening addr=$LISTEN_ADDR" >&2
while :; do sleep 0.01; done`

func TestServer_StartsAndStops(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://developer")
	binary := filepath.Join(t.TempDir(), "gatehouse")
	if err := os.WriteFile(binary, []byte(fakeServer), 0o700); err != nil {
		t.Fatal(err)
	}
	s := StartServer(t, binary, map[string]string{"LISTEN_ADDR": "127.0.0.1:4711"}, "--migrate")
	if got, want := s.URL(), "http://127.0.0.1:4711"; got != want {
		t.Errorf("got the URL %s, want %s", got, want)
	}
	if !strings.Contains(s.Log(), "started with serve --migrate") {
		t.Errorf("log: %s", s.Log())
	}
	if strings.Contains(strings.Join(s.cmd.Env, " "), "postgres://developer") {
		t.Error("the server inherited a setting of this process")
	}
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if code := s.Stop(); code != 3 {
		t.Errorf("Stop after exit: exit code %d, want 3", code)
	}
}
