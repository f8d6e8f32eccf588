package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

func onEachCredentials(t *testing.T, test func(t *testing.T, r *redisconn.Pool, c *Credentials)) {
	t.Helper()
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) { test(t, r, NewCredentials(r, 5*time.Minute)) })
}

func someCredential(name string) auth.Credential {
	return auth.Credential{Version: 1, Name: name, Network: "192.0.2.7", UserID: "u1", Epoch: 2, MAC: bytes.Repeat([]byte{0xfe}, 32)}
}

func fillCredential(t testing.TB, c *Credentials, rec auth.Credential) {
	t.Helper()
	if err := c.FillCredential(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
}

// findCredential returns the credential of a name, unless there is none or one of the keys is throttled.
func findCredential(t testing.TB, c *Credentials, name string, keys ...string) (auth.Credential, bool) {
	t.Helper()
	rec, err := c.Credential(t.Context(), name, "192.0.2.7", keys...)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		t.Fatal(err)
	}
	if err != nil && !reflect.DeepEqual(rec, auth.Credential{}) {
		t.Errorf("got %+v with the error %v", rec, err)
	}
	return rec, err == nil
}

func TestCredential_TakesOneRoundTrip(t *testing.T) {
	onEachCredentials(t, func(t *testing.T, r *redisconn.Pool, c *Credentials) {
		if _, ok := findCredential(t, c, "alice", "address:x", "account:alice"); ok {
			t.Fatal("found in an empty cache")
		}
		want := someCredential("alice")
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if err := c.FillCredential(ctx, want); err != nil {
				t.Fatal(err)
			}
		}); trips != 1 {
			t.Errorf("filling took %d round trips, want 1", trips)
		}
		trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			got, err := c.Credential(ctx, "alice", "192.0.2.7", "address:x", "account:alice")
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want the stored credential", got, err)
			}
		})
		if trips != 1 {
			t.Errorf("finding took %d round trips, want 1", trips)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "credential:alice:192.0.2.7").(int64); ttl <= 290_000 || ttl > 300_000 {
			t.Errorf("got a TTL of %d ms, want 5 min", ttl)
		}
		if c.Hits.Load() != 1 || c.Misses.Load() != 1 {
			t.Errorf("got %d hits and %d misses, want 1 and 1", c.Hits.Load(), c.Misses.Load())
		}
		raw, _ := redis.String(kvtest.Run(t, r, "GET", "credential:alice:192.0.2.7"), nil)
		var fields map[string]any
		if json.Unmarshal([]byte(raw), &fields) != nil || fields["v"] != 1.0 || fields["name"] != "alice" || fields["network"] != "192.0.2.7" || len(fields) != 6 {
			t.Errorf("got the record %s", raw)
		}
		if _, ok := findCredential(t, c, "bob"); ok {
			t.Error("got alice's credential for bob")
		}
		kvtest.Run(t, r, "FLUSHDB")
		if _, ok := findCredential(t, c, "alice"); ok {
			t.Error("found in a flushed cache")
		}
	})
}

func TestMarkThrottled_RefusesWithAndWithoutARecord(t *testing.T) {
	onEachCredentials(t, func(t *testing.T, r *redisconn.Pool, c *Credentials) {
		fillCredential(t, c, someCredential("alice"))
		waits := map[string]time.Duration{"account:alice": time.Minute, "address:x": time.Hour, "address:y": 0, "address:z": -time.Second}
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if err := c.MarkThrottled(ctx, waits); err != nil {
				t.Fatal(err)
			}
		}); trips != 1 {
			t.Errorf("marking took %d round trips, want 1", trips)
		}
		for what, c2 := range map[string]struct {
			name string
			keys []string
			want time.Duration
		}{
			"account":            {"alice", []string{"address:y", "account:alice"}, time.Minute},
			"address":            {"alice", []string{"address:x", "account:bob"}, time.Hour},
			"the longest":        {"alice", []string{"account:alice", "address:x"}, time.Hour},
			"the longest, first": {"alice", []string{"address:x", "account:alice"}, time.Hour},
			"without a record":   {"bob", []string{"address:x"}, time.Hour},
		} {
			trips := kvtest.RoundTrips(t, func(ctx context.Context) {
				_, err := c.Credential(ctx, c2.name, "192.0.2.7", c2.keys...)
				var throttled auth.ThrottledError
				if !errors.As(err, &throttled) || !near(throttled.RetryAfter, c2.want) {
					t.Errorf("%s: got %v, want a delay of %s", what, err, c2.want)
				}
			})
			if trips != 1 {
				t.Errorf("%s: got %d round trips, want 1", what, trips)
			}
		}
		for _, keys := range [][]string{nil, {"address:y"}, {"address:z", "account:bob"}, {"account:alic"}, {"throttle:account:alice"}} {
			if _, ok := findCredential(t, c, "alice", keys...); !ok {
				t.Errorf("%q are throttled, want them not to be", keys)
			}
		}
		if kvtest.Exists(t, r, "waiting:address:y") || kvtest.Exists(t, r, "waiting:address:z") {
			t.Error("a delay of zero or less was marked")
		}
		// A mark expires, and a newer one replaces it.
		if err := c.MarkThrottled(t.Context(), map[string]time.Duration{"address:x": 50 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		kvtest.Eventually(t, "the mark expires", func() bool { return !kvtest.Exists(t, r, "waiting:address:x") })
		if _, ok := findCredential(t, c, "alice", "address:x"); !ok {
			t.Error("still throttled after the mark expired")
		}
		// Without anything to mark there is no round trip.
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			_ = c.MarkThrottled(ctx, nil)
			_ = c.MarkThrottled(ctx, map[string]time.Duration{"a": 0})
		}); trips != 0 {
			t.Errorf("marking nothing took %d round trips, want 0", trips)
		}
	})
}

func TestCredential_RejectsInvalidRecords(t *testing.T) {
	onEachCredentials(t, func(t *testing.T, r *redisconn.Pool, c *Credentials) {
		mac := `"` + strings.Repeat("A", 43) + `="`
		good := `{"v":1,"name":"alice","network":"192.0.2.7","user_id":"u1","epoch":2,"mac":` + mac + `}`
		kvtest.Run(t, r, "SET", "credential:alice:192.0.2.7", good)
		if _, ok := findCredential(t, c, "alice"); !ok {
			t.Fatal("the valid record was not found")
		}
		for what, value := range map[string]string{
			"empty": "", "text": "x", "null": "null", "array": "[]", "object": "{}", "trailing": good + "}",
			"version": strings.Replace(good, `"v":1`, `"v":2`, 1), "no version": strings.Replace(good, `"v":1,`, ``, 1),
			"another name's": strings.Replace(good, "alice", "bob", 1), "no name": strings.Replace(good, `"name":"alice",`, "", 1),
			"another network's": strings.Replace(good, "192.0.2.7", "192.0.2.8", 1), "no network": strings.Replace(good, `"network":"192.0.2.7",`, "", 1),
			"no user": strings.Replace(good, "u1", "", 1), "no epoch": strings.Replace(good, `"epoch":2,`, "", 1), "negative epoch": strings.Replace(good, `:2,`, `:-2,`, 1),
			"no MAC": strings.Replace(good, mac, "null", 1), "short MAC": strings.Replace(good, mac, `"AAAA"`, 1), "long MAC": strings.Replace(good, mac, `"`+strings.Repeat("A", 44)+`"`, 1),
			"not base64": strings.Replace(good, mac, `"!"`, 1), "not UTF-8": strings.Replace(good, `"v"`, "\"\xff\":1,\"v\"", 1),
			"too large": strings.Replace(good, `"v"`, `"x":"`+strings.Repeat("x", maxCredential)+`","v"`, 1),
		} {
			kvtest.Run(t, r, "SET", "credential:alice:192.0.2.7", value)
			if got, ok := findCredential(t, c, "alice"); ok {
				t.Errorf("%s: got %+v, want none", what, got)
			}
		}
		kvtest.Run(t, r, "DEL", "credential:alice:192.0.2.7")
		kvtest.Run(t, r, "RPUSH", "credential:alice:192.0.2.7", "x")
		if _, ok := findCredential(t, c, "alice", "address:x"); ok {
			t.Error("a list was returned as a credential")
		}
		fillCredential(t, c, someCredential("alice"))
		if _, ok := findCredential(t, c, "alice"); !ok {
			t.Error("the list was not replaced")
		}
		// A mark without a TTL is ignored.
		kvtest.Run(t, r, "SET", "waiting:address:x", "1")
		if _, ok := findCredential(t, c, "alice", "address:x"); !ok {
			t.Error("a mark without a TTL throttles")
		}
	})
}

func TestCredentials_UnreachableIsUnavailable(t *testing.T) {
	server, r := kvtest.OpenMiniredis(t)
	c := NewCredentials(r, time.Minute)
	fillCredential(t, c, someCredential("alice"))
	server.SetError(broken)
	_, err := c.Credential(t.Context(), "alice", "192.0.2.7", "address:x")
	kvtest.WantUnavailable(t, err)
	if errors.Is(err, auth.ErrNotFound) {
		t.Error("got ErrNotFound from an unreachable Redis")
	}
	kvtest.WantUnavailable(t, c.FillCredential(t.Context(), someCredential("alice")))
	kvtest.WantUnavailable(t, c.MarkThrottled(t.Context(), map[string]time.Duration{"a": time.Second}))
	c = NewCredentials(kvtest.Open(t, "redis://127.0.0.1:1"), time.Minute)
	_, err = c.Credential(t.Context(), "alice", "192.0.2.7")
	kvtest.WantUnavailable(t, err)
}

func FuzzCredentialRecord(f *testing.F) {
	good, err := json.Marshal(someCredential("alice"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(good), "", "null", "{}", `{"v":1}`, string(good[:40]), `{"v":1,"name":"alice","user_id":"u1","epoch":-1,"mac":""}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		rec, ok := parseCredential(value)
		if !ok {
			return
		}
		if rec.Version != 1 || rec.Name == "" || rec.UserID == "" || rec.Epoch < 0 || len(rec.MAC) != 32 || len(value) > maxCredential {
			t.Errorf("%q was parsed as %+v, want it refused", value, rec)
		}
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > maxCredential {
			return // \u escapes can grow
		}
		if again, ok := parseCredential(b); !ok || !reflect.DeepEqual(again, rec) {
			t.Errorf("%+v became %+v, %v after a round trip", rec, again, ok)
		}
	})
}
