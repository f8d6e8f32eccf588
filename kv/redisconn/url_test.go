package redisconn

import (
	"strings"
	"testing"
)

func TestOpen_RefusesInvalidURLs(t *testing.T) {
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
			t.Errorf("%q: the error %q contains the password or has several lines", u, s)
		}
		if strings.Contains(u, "+") && !strings.Contains(err.Error(), "not supported yet") {
			t.Errorf("%q: got %q, want not supported yet", u, err)
		}
	}
}

func TestParseTarget_ReadsEveryForm(t *testing.T) {
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

func TestNextDatabase_CountsUp(t *testing.T) {
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
			t.Errorf("SameDatabase(%s, %s): got true, want false", u, got)
		}
	}
	if _, err := NextDatabase("redis+cluster://h"); err == nil {
		t.Error("NextDatabase of a cluster: got no error")
	}
}

func TestSameDatabase_IgnoresSpelling(t *testing.T) {
	for _, pair := range [][2]string{
		{"redis://h", "redis://u:p@H:6379/0"},
		{"redis://localhost/1", "rediss://127.0.0.1:6379/1"},
		{"redis://[::1]:7", "redis://localhost:7"},
		{"unix:///a.sock", "unix://:p@//a.sock?db=0"},
	} {
		if !SameDatabase(pair[0], pair[1]) || !SameDatabase(pair[1], pair[0]) {
			t.Errorf("SameDatabase(%s, %s): got false, want true", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{
		{"redis://h", "redis://h/1"}, {"redis://h", "redis://i"}, {"redis://h:1", "redis://h:2"},
		{"unix:///a", "unix:///b"}, {"unix:///a", "unix:///a?db=1"}, {"bad", "bad"},
	} {
		if SameDatabase(pair[0], pair[1]) {
			t.Errorf("SameDatabase(%s, %s): got true, want false", pair[0], pair[1])
		}
	}
}
