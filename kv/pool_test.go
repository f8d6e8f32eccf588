package kv

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/auth"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
)

func TestPing(t *testing.T) {
	onEach(t, func(t *testing.T, r *Redis) {
		if err := r.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := r.Stats(); s.Active != 1 || s.Idle != 1 {
			t.Errorf("got %+v, want one idle connection", s)
		}
	})
}

func TestPipelineIsOneTrip(t *testing.T) {
	onEach(t, func(t *testing.T, r *Redis) {
		var replies []any
		trips := cost(t, func(ctx context.Context) {
			var err error
			replies, err = r.pipeline(ctx, once("test"), cmd("SET", "a", 1), cmd("GET", "a"), cmd("GET", "b"))
			if err != nil {
				t.Fatal(err)
			}
		})
		if v, _ := redis.String(replies[1], nil); trips != 1 || v != "1" || replies[2] != nil {
			t.Errorf("got %d trips and %q, want 1 trip and OK, 1, nil", trips, replies)
		}
	})
}

func TestErrorReply(t *testing.T) {
	onEach(t, func(t *testing.T, r *Redis) {
		run(t, r, "SET", "a", "text")
		_, err := r.pipeline(t.Context(), once("count"), cmd("INCR", "a"), cmd("SET", "b", 1))
		if err == nil || errors.Is(err, auth.ErrUnavailable) || !strings.HasPrefix(err.Error(), "redis: count: ") {
			t.Errorf("got %v, want the reply of INCR, which is no ErrUnavailable", err)
		}
		if !exists(t, r, "b") {
			t.Error("the command after the failed one was lost")
		}
	})
}

func TestUnavailableReplies(t *testing.T) {
	e := startEmbedded(t)
	r := open(t, e.URL())
	if err := r.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{
		"LOADING Redis is loading the dataset in memory",
		"MASTERDOWN Link with MASTER is down",
		"READONLY You can't write against a read only replica.",
		"CLUSTERDOWN The cluster is down",
		"OOM command not allowed when used memory > 'maxmemory'.",
		"ERR max number of clients reached",
		"ERR Error running script (call to f_12): @user_script:3: OOM command not allowed when used memory",
		"ERR Error running script (call to f_12): @user_script: 3: -READONLY You can't write",
	} {
		e.server.SetError(reply)
		_, err := r.do(t.Context(), once("test"), cmd("SET", "a", 1))
		wantUnavailable(t, err)
	}
	e.server.SetError("ERR something else with OOM in it")
	if _, err := r.do(t.Context(), once("test"), cmd("SET", "a", 1)); err == nil || errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got %v, want an error that is no ErrUnavailable", err)
	}
	e.server.SetError("")
}

func TestFullRedis(t *testing.T) {
	s := startServer(t, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
	r := open(t, s.url())
	wantUnavailable(t, NewSessions(r).CommitCtx(t.Context(), testID(1), encode(t, newSession(1, "u1")), time.Time{}))
	wantUnavailable(t, taken(NewThrottle(r).Reserve(t.Context(), auth.Bucket{Key: "k", Limit: auth.RateLimit{Burst: 1, ResetAfter: time.Hour}})))
	_, _, err := NewUsers(r, time.Hour).User(t.Context(), "u1")
	wantUnavailable(t, err)
}

func TestUnreachable(t *testing.T) {
	r := open(t, "redis://:hunter22@127.0.0.1:1/3")
	err := r.Ping(t.Context())
	wantUnavailable(t, err)
	if !strings.HasPrefix(err.Error(), "redis: ping: unavailable: ") || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("got %q, want what was tried and no password", err)
	}
}

func TestWrongPassword(t *testing.T) {
	e := startEmbedded(t)
	e.server.RequireAuth("right")
	r := open(t, strings.Replace(e.URL(), "unix://", "unix://:hunter22@", 1))
	err := r.Ping(t.Context())
	wantUnavailable(t, err)
	if strings.Contains(err.Error(), "hunter22") {
		t.Errorf("the password is in %q", err)
	}
}

// A server that does not know AUTH quotes its arguments in the error.
func TestPasswordIsRedacted(t *testing.T) {
	f := startFake(t, func(int64, []string) string {
		return "-ERR unknown command `AUTH`, with args beginning with: `hunter22`\r\n"
	})
	err := open(t, "redis://:hunter22@"+f.address).Ping(t.Context())
	wantUnavailable(t, err)
	if strings.Contains(err.Error(), "hunter22") {
		t.Errorf("the password is in %q", err)
	}
}

func TestUserAndPassword(t *testing.T) {
	s := startServer(t)
	run(t, open(t, s.url()), "ACL", "SETUSER", "app", "on", ">p@ss/word", "~*", "+@all")
	run(t, open(t, s.url()), "ACL", "SETUSER", "default", "off")
	r := open(t, "unix://app:p%40ss%2Fword@"+s.socket+"?db=5")
	if who, err := redis.String(r.do(t.Context(), once("test"), cmd("ACL", "WHOAMI"))); err != nil || who != "app" {
		t.Errorf("got %q, %v, want app", who, err)
	}
	if info, _ := redis.String(r.do(t.Context(), once("test"), cmd("CLIENT", "INFO"))); !strings.Contains(info, " db=5 ") {
		t.Errorf("not in database 5: %s", info)
	}
}

func TestTLS(t *testing.T) {
	cert, roots := selfSigned(t)
	m := miniredis.NewMiniRedis()
	m.RequireAuth("pw")
	if err := m.StartTLS(&tls.Config{Certificates: []tls.Certificate{cert}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	r := open(t, "rediss://:pw@"+m.Addr())
	wantUnavailable(t, r.Ping(t.Context()))
	r.tls.RootCAs = roots
	for range 3 {
		if err := r.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.Stats(); s.Active != 1 {
		t.Errorf("got %+v, want the one connection reused", s)
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// fillPool leaves n idle connections in the pool.
func fillPool(t *testing.T, r *Redis, n int) {
	t.Helper()
	conns := make([]redis.Conn, n)
	for i := range conns {
		c, err := r.pool.GetContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	for _, c := range conns {
		c.Close()
	}
	if s := r.Stats(); s.Idle != n {
		t.Fatalf("got %+v, want %d idle", s, n)
	}
}

// Every kind of operation, also one that is not repeated, works at once after a restart.
func TestRestart(t *testing.T) {
	s := startServer(t)
	r := open(t, s.url())
	sessions, throttle := NewSessions(r), NewThrottle(r)
	firsts := map[string]func() error{
		"read": func() error { _, _, err := sessions.FindCtx(t.Context(), testID(1)); return err },
		"commit": func() error {
			return sessions.CommitCtx(t.Context(), testID(2), encode(t, newSession(2, "u1")), time.Time{})
		},
		"delete": func() error {
			if err := sessions.DeleteCtx(t.Context(), testID(3)); !errors.Is(err, auth.ErrSessionEnded) {
				return err
			}
			return nil
		},
		"throttle": func() error {
			return taken(throttle.Reserve(t.Context(), auth.Bucket{Key: "k", Limit: auth.RateLimit{Burst: 100, ResetAfter: time.Hour}}))
		},
	}
	for name, first := range firsts {
		t.Run(name, func(t *testing.T) {
			fillPool(t, r, 50)
			s.kill()
			s.start()
			for i := range 60 {
				if err := first(); err != nil {
					t.Fatalf("request %d after the restart: %v", i+1, err)
				}
			}
		})
	}
}

func TestRestartUnderLoad(t *testing.T) {
	s := startServer(t)
	r := open(t, s.url())
	fillPool(t, r, 50)
	s.kill()
	wantUnavailable(t, r.Ping(t.Context()))
	s.start()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := r.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestStoppedRedis(t *testing.T) {
	s := startServer(t)
	r := open(t, s.url())
	fillPool(t, r, 50)
	s.signal(syscall.SIGSTOP)
	t.Cleanup(func() { s.signal(syscall.SIGCONT) })
	id, record := testID(1), encode(t, newSession(1, "u1"))
	for name, op := range map[string]func() error{
		"ping":   func() error { return r.Ping(t.Context()) },
		"commit": func() error { return NewSessions(r).CommitCtx(t.Context(), id, record, time.Time{}) },
		"dial":   func() error { return open(t, s.url()).Ping(t.Context()) },
	} {
		start := time.Now()
		wantUnavailable(t, op())
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("%s: no answer for %s", name, took)
		}
	}
	s.signal(syscall.SIGCONT)
	if err := r.Ping(t.Context()); err != nil {
		t.Errorf("after the stop: %v", err)
	}
}

func TestCallersDeadline(t *testing.T) {
	s := startServer(t)
	r := open(t, s.url())
	fillPool(t, r, 1)
	s.signal(syscall.SIGSTOP)
	t.Cleanup(func() { s.signal(syscall.SIGCONT) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	wantUnavailable(t, r.Ping(ctx))
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("took %s, want 50 ms", took)
	}
}

func TestCancelledContext(t *testing.T) {
	onEach(t, func(t *testing.T, r *Redis) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.do(ctx, once("test"), cmd("SET", "a", 1))
		if !errors.Is(err, context.Canceled) || exists(t, r, "a") {
			t.Errorf("got %v, want context.Canceled and nothing done", err)
		}
		wantUnavailable(t, NewSessions(r).CommitCtx(ctx, testID(1), encode(t, newSession(1, "u1")), time.Time{}))
		if exists(t, r, "session:"+testID(1)) {
			t.Error("a session was made for a client who has gone")
		}
	})
}

func TestFullPoolDoesNotWaitForEver(t *testing.T) {
	onEach(t, func(t *testing.T, r *Redis) {
		var conns []redis.Conn
		for range maxConns {
			conns = append(conns, r.pool.Get())
		}
		id, record := testID(1), encode(t, newSession(1, "u1"))
		for name, op := range map[string]func() error{
			"ping":   func() error { return r.Ping(t.Context()) },
			"commit": func() error { return NewSessions(r).CommitCtx(t.Context(), id, record, time.Time{}) },
		} {
			start := time.Now()
			wantUnavailable(t, op())
			if took := time.Since(start); took < 900*time.Millisecond || took > 1500*time.Millisecond {
				t.Errorf("%s: waited %s, want 1 s", name, took)
			}
		}
		conns[0].Close()
		if err := r.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		for _, c := range conns[1:] {
			c.Close()
		}
	})
}

// fake is a server whose answers a test writes: given the number of the command (from 1, over
// all connections) and its words it returns the reply, or "" to hang up.
type fake struct {
	address string
	dials   atomic.Int64
	mu      sync.Mutex
	names   []string
}

func startFake(t *testing.T, answer func(n int64, words []string) string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &fake{address: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.dials.Add(1)
			go f.serve(c, answer)
		}
	}()
	return f
}

func (f *fake) serve(c net.Conn, answer func(int64, []string) string) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		head, err := in.ReadString('\n')
		if err != nil {
			return
		}
		count, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
		words := make([]string, count)
		for i := range words {
			size, _ := in.ReadString('\n')
			n, _ := strconv.Atoi(strings.TrimSpace(size[1:]))
			word := make([]byte, n+len("\r\n"))
			io.ReadFull(in, word)
			words[i] = string(word[:n])
		}
		f.mu.Lock()
		f.names = append(f.names, words[0])
		n := int64(len(f.names))
		f.mu.Unlock()
		reply := answer(n, words)
		if reply == "" {
			return
		}
		c.Write([]byte(reply))
	}
}

func (f *fake) got() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.names, " ")
}

func TestReadIsRepeatedOnce(t *testing.T) {
	f := startFake(t, func(n int64, _ []string) string {
		if n == 1 {
			return ""
		}
		return "+PONG\r\n"
	})
	r := open(t, "redis://"+f.address)
	if trips := cost(t, func(ctx context.Context) {
		if err := r.Ping(ctx); err != nil {
			t.Error(err)
		}
	}); trips != 2 || f.got() != "PING PING" {
		t.Errorf("got %d trips and %q, want the PING twice", trips, f.got())
	}
}

func TestReadIsNotRepeatedTwice(t *testing.T) {
	f := startFake(t, func(int64, []string) string { return "" })
	wantUnavailable(t, open(t, "redis://"+f.address).Ping(t.Context()))
	if f.got() != "PING PING" {
		t.Errorf("got %q, want PING twice", f.got())
	}
}

func TestClaimIsNotRepeated(t *testing.T) {
	f := startFake(t, func(int64, []string) string { return "" })
	r := open(t, "redis://"+f.address)
	wantUnavailable(t, NewSessions(r).DeleteCtx(t.Context(), testID(1)))
	wantUnavailable(t, taken(NewThrottle(r).Reserve(t.Context(), auth.Bucket{Key: "k"})))
	if f.got() != "DEL EVALSHA" {
		t.Errorf("got %q, want each command once", f.got())
	}
}

// A miss whose connection breaks after Redis has set the lease is repeated, and finds it.
func TestRepeatedMissKeepsItsLease(t *testing.T) {
	var lease atomic.Value
	f := startFake(t, func(n int64, words []string) string {
		switch n {
		case 1:
			return "$-1\r\n"
		case 2:
			lease.Store(words[2])
			return ""
		case 3:
			return fmt.Sprintf("$%d\r\n%s\r\n", len(lease.Load().(string)), lease.Load())
		}
		return "$-1\r\n"
	})
	_, got, err := NewUsers(open(t, "redis://"+f.address), time.Hour).User(t.Context(), "u1")
	if !errors.Is(err, auth.ErrNotFound) || got == "" || got != lease.Load() {
		t.Errorf("got lease %q, %v, want %q and ErrNotFound", got, err, lease.Load())
	}
}

// In calm times a borrowed connection is not tested; after a failure each one is, once.
func TestOnlyDoubtfulConnectionsAreTested(t *testing.T) {
	f := startFake(t, func(_ int64, words []string) string {
		if words[0] == "PING" {
			return "+PONG\r\n"
		}
		return "+OK\r\n"
	})
	r := open(t, "redis://"+f.address)
	send := func() {
		t.Helper()
		if _, err := r.do(t.Context(), once("test"), cmd("GET", "a")); err != nil {
			t.Fatal(err)
		}
	}
	send()
	send()
	r.noteFailure()
	send()
	send()
	if want := "GET GET PING GET GET"; f.got() != want || f.dials.Load() != 1 {
		t.Errorf("got %q on %d connections, want %q on one", f.got(), f.dials.Load(), want)
	}
	if !r.inDoubt(time.Now().Add(-doubtAfter - time.Second)) {
		t.Error("a connection idle for more than a minute is trusted")
	}
}

// A reply that nobody waits for must not answer the next request.
func TestHungUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := hungUp(near, false); err != nil {
		t.Errorf("a quiet connection: %v", err)
	}
	far.Write([]byte("+stray\r\n"))
	eventually(t, "stray data is seen", func() bool { return errors.Is(hungUp(near, false), errUnexpectedData) })
	if err := hungUp(near, true); err != nil {
		t.Errorf("data under TLS: %v", err)
	}
	near.Read(make([]byte, 100))
	far.Close()
	eventually(t, "the end is seen", func() bool { return errors.Is(hungUp(near, true), io.EOF) })
}

func TestURLs(t *testing.T) {
	for _, u := range []string{
		"", "localhost:6379", "http://localhost", "redis:", "redis://", "redis://:6379/1", "redis://secretpw@host:1", "redis://u:secretpw@host:port",
		"redis://u:secretpw@host:0", "redis://u:secretpw@host:70000", "redis://u:secretpw@host/x", "redis://u:secretpw@host/-1",
		"redis://u:secretpw@host/1/2", "redis://u:secretpw@host/99999", "redis://u:secretpw@host?db=1", "redis://u:secretpw@host#1",
		"redis://u:secret%zzpw@host", "unix://secretpw", "unix://u:secretpw@path/x.sock", "unix:///x.sock?db=a", "unix:///x.sock?d=1",
		"unix:///x.sock?db=1&db=2", "unix:///", "unix:x.sock", "redis+sentinel://u:secretpw@a,b/mymaster", "redis+cluster://u:secretpw@a",
	} {
		_, err := Open(u)
		if err == nil {
			t.Errorf("%q is accepted", u)
			continue
		}
		if s := err.Error(); strings.Contains(s, "secret") || strings.Contains(s, "\n") {
			t.Errorf("%q: the error %q shows the password or has several lines", u, s)
		}
		if strings.Contains(u, "+") && !strings.Contains(err.Error(), "not supported yet") {
			t.Errorf("%q: got %q, want not supported yet", u, err)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for u, want := range map[string]target{
		"redis://host":                      {network: "tcp", address: "host:6379"},
		"redis://host/":                     {network: "tcp", address: "host:6379"},
		"redis://:p%40@[::1]:7000/15":       {network: "tcp", address: "[::1]:7000", password: "p@", database: 15},
		"rediss://u:p@host:1/2":             {network: "tcp", address: "host:1", user: "u", password: "p", database: 2, tls: true},
		"unix:///run/redis.sock":            {network: "unix", address: "/run/redis.sock"},
		"unix://u:p@/run//redis.sock?db=12": {network: "unix", address: "/run/redis.sock", user: "u", password: "p", database: 12},
	} {
		if got, err := parseTarget(u); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", u, got, err, want)
		}
	}
}

func TestNextDatabase(t *testing.T) {
	for u, want := range map[string]string{
		"redis://h":                  "redis://h/1",
		"rediss://u:p%40@h:1/2":      "rediss://u:p%40@h:1/3",
		"unix:///a.sock":             "unix:///a.sock?db=1",
		"unix://u:p@/a.sock?db=9":    "unix://u:p@/a.sock?db=10",
		"unix:///with%20blank?db=01": "unix:///with%20blank?db=2",
	} {
		got, err := NextDatabase(u)
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", u, got, err, want)
		}
		if SameDatabase(u, got) {
			t.Errorf("%s is the same as %s", u, got)
		}
	}
	if _, err := NextDatabase("redis+cluster://h"); err == nil {
		t.Error("a cluster has a next database")
	}
}

func TestSame(t *testing.T) {
	for _, pair := range [][2]string{
		{"redis://h", "redis://u:p@H:6379/0"},
		{"redis://localhost/1", "rediss://127.0.0.1:6379/1"},
		{"redis://[::1]:7", "redis://localhost:7"},
		{"unix:///a.sock", "unix://:p@//a.sock?db=0"},
	} {
		if !SameDatabase(pair[0], pair[1]) || !SameDatabase(pair[1], pair[0]) {
			t.Errorf("%s and %s are not the same", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{
		{"redis://h", "redis://h/1"}, {"redis://h", "redis://i"}, {"redis://h:1", "redis://h:2"},
		{"unix:///a", "unix:///b"}, {"unix:///a", "unix:///a?db=1"}, {"bad", "bad"},
	} {
		if SameDatabase(pair[0], pair[1]) {
			t.Errorf("%s and %s are the same", pair[0], pair[1])
		}
	}
}
