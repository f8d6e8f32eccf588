package kv

import "testing"

func TestEvictionPolicy(t *testing.T) {
	s := startServer(t, "--maxmemory-policy", "allkeys-lru")
	admin := open(t, s.url())
	run(t, admin, "ACL", "SETUSER", "hosted", "on", ">pw", "~*", "+@all", "-config")
	run(t, admin, "ACL", "SETUSER", "shut", "on", ">pw", "~*", "+ping", "+select")
	for user, want := range map[string]string{"": "allkeys-lru", "hosted:pw@": "allkeys-lru", "shut:pw@": ""} {
		r := open(t, "unix://"+user+s.socket+"?db=1")
		if got, err := r.EvictionPolicy(t.Context()); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", user, got, err, want)
		}
	}
	if got, err := openEmbedded(t).EvictionPolicy(t.Context()); err != nil || got != "" {
		t.Errorf("embedded: got %q, %v, want none", got, err)
	}
	_, err := open(t, "redis://127.0.0.1:1").EvictionPolicy(t.Context())
	wantUnavailable(t, err)
}
