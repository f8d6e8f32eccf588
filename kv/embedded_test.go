package kv

import (
	"net/url"
	"strings"
	"testing"
)

func TestEmbedded(t *testing.T) {
	e := startEmbedded(t)
	u, err := url.Parse(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User.Password(); len(password) < 26 || u.Hostname() != "127.0.0.1" {
		t.Errorf("got host %s and a password of %d characters", u.Hostname(), len(password))
	}
	r := open(t, e.URL())
	run(t, r, "SET", "a", 1)
	wantUnavailable(t, open(t, "redis://"+u.Host).Ping(t.Context()))
	if other := startEmbedded(t); other.URL() == e.URL() || other.password == e.password {
		t.Error("two have the same address or password")
	}
	next, err := NextDatabase(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	if exists(t, open(t, next), "a") {
		t.Error("the next database is the same")
	}
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
	e, err := StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, e.URL())
	run(t, r, "SET", "a", 1)
	e.Close()
	err = r.Ping(t.Context())
	wantUnavailable(t, err)
	if strings.Contains(err.Error(), e.password) {
		t.Errorf("the password is in %q", err)
	}
}
