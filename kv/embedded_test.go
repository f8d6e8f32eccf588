package kv

import (
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEmbedded(t *testing.T) {
	e := startEmbedded(t)
	u, err := url.Parse(e.URL())
	if err != nil || u.Scheme != "unix" {
		t.Fatalf("%q, %v", e.URL(), err)
	}
	r := open(t, e.URL())
	run(t, r, "SET", "a", 1)
	next, err := NextDatabase(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	if exists(t, open(t, next), "a") {
		t.Error("the next database is the same")
	}
	if exists(t, openEmbedded(t), "a") {
		t.Error("another directory's is the same")
	}
}

func TestEmbedded_SocketIsPrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	e, err := StartEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	info, err := os.Lstat(filepath.Join(dir, embeddedSocket))
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(dir, embeddedStaging)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the staging directory is still there: %v", err)
	}
}

func TestEmbedded_DirectoryBelongsToOne(t *testing.T) {
	dir := t.TempDir()
	first, err := StartEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	run(t, open(t, first.URL()), "SET", "a", 1)
	if _, err := StartEmbedded(dir); !errors.Is(err, ErrDirectoryInUse) {
		t.Errorf("got %v", err)
	}
	if !exists(t, open(t, first.URL()), "a") {
		t.Error("the first one lost its keys")
	}
	if url, err := EmbeddedURL(t.Context(), dir); url != first.URL() || err != nil {
		t.Errorf("got %q, %v; want %q", url, err, first.URL())
	}
	first.Close()
	if url, err := EmbeddedURL(t.Context(), dir); url != "" || err != nil {
		t.Errorf("after its end: %q, %v", url, err)
	}
	// What a killed process leaves behind.
	stale, err := listenPrivately(filepath.Join(dir, embeddedSocket))
	if err != nil {
		t.Fatal(err)
	}
	_ = stale.Close()
	if url, err := EmbeddedURL(t.Context(), dir); url != "" || err != nil {
		t.Errorf("of a socket that nobody listens on: %q, %v", url, err)
	}
	second, err := StartEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close() // must not take the second one's socket away
	run(t, open(t, second.URL()), "PING")
}

func TestEmbedded_LongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 200))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	e, err := StartEmbedded(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	run(t, open(t, e.URL()), "PING")
	if url, err := EmbeddedURL(t.Context(), dir); url != e.URL() || err != nil {
		t.Errorf("got %q, %v; want %q", url, err, e.URL())
	}
	if left, _ := filepath.Glob(filepath.Join(temporary, "*")); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

// TestEmbedded_RefusesWhatIsNoCommand: miniredis panics at some of it, which would end the process.
func TestEmbedded_RefusesWhatIsNoCommand(t *testing.T) {
	e := startEmbedded(t)
	for _, text := range []string{
		"*0\r\n", "*-1\r\n", "*\r\n", "*1\n", "* 1\r\n", "*+1\r\n", "*1048577\r\n", "*99999999999999999999\r\n", "PING\r\n", "\r\n", "$4\r\nPING\r\n",
		"*1\r\n$-1\r\n", "*1\r\n$16777217\r\n", "*1\r\n$9223372036854775807\r\n", "*1\r\n:1\r\n", "*1\r\n+PING\r\n", "*1\r\n*1\r\n", "*" + strings.Repeat("0", 1<<16) + "1\r\n",
	} {
		if got := exchangeRaw(t, e, "*1\r\n$4\r\nPING\r\n"+text+"*1\r\n$4\r\nPING\r\n"); !strings.Contains(got, "-ERR Protocol error") || strings.Count(got, "+PONG") > 1 {
			t.Errorf("%.40q: got %q, want an error and an end", text, got)
		}
	}
	for text, want := range map[string]string{
		"*1\r\n$4\r\nPING\r\n": "+PONG\r\n", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n": "$0\r\n\r\n", "*2\r\n$4\r\nECHO\r\n$4\r\n\r\n*0\r\n": "$4\r\n\r\n*0\r\n",
		"*1\r\n$4\r\nPI": "", "*1\r\n$0\r\n\r\n": "-ERR unknown command ``, with args beginning with: \r\n",
	} {
		if got := exchangeRaw(t, e, text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	long := strings.Repeat("x", 1<<20)
	r := open(t, e.URL())
	run(t, r, "SET", "long", long)
	if got := run(t, r, "GET", "long"); string(got.([]byte)) != long {
		t.Error("a long value came back as another one")
	}
}

// exchangeRaw sends octets, then the end, and returns what comes back.
func exchangeRaw(t *testing.T, e *Embedded, text string) string {
	t.Helper()
	c, err := net.Dial("unix", e.path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.UnixConn).CloseWrite()
	got, _ := io.ReadAll(c) // what was not read makes the end a reset
	return string(got)
}

// TestEmbedded_RefusesCommandsThatPanic: with arguments that miniredis panics at.
func TestEmbedded_RefusesCommandsThatPanic(t *testing.T) {
	r := openEmbedded(t)
	for _, c := range []command{
		cmd("SETRANGE", "k", "9223372036854775807", "a"), cmd("hrandfield", "k", "-9223372036854775808"), cmd("SSCAN", "k", -1), cmd("ZSCAN", "k", "-9223372036854775808"),
		cmd("EVAL", "return redis.call('SSCAN', 'k', '-1')", 0),
	} {
		if _, err := r.do(t.Context(), once("test"), c); err == nil || !strings.Contains(err.Error(), "does not support") {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	run(t, r, "PING")
}

func TestEmbeddedKeysEnd(t *testing.T) {
	r := openEmbedded(t)
	run(t, r, "SET", "a", 1, "PX", 100)
	if !exists(t, r, "a") {
		t.Fatal("it ended at once")
	}
	eventually(t, "the key ends", func() bool { return !exists(t, r, "a") })
}

func TestEmbeddedCloses(t *testing.T) {
	e := startEmbedded(t)
	r := open(t, e.URL())
	run(t, r, "SET", "a", 1)
	e.Close()
	wantUnavailable(t, r.Ping(t.Context()))
}
