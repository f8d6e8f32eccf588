package redisconn_test

import (
	"testing"

	"gatehouse/internal/testkit"
	"gatehouse/kv/kvtest"
)

func TestEvictionPolicy_WorksWithoutCONFIG(t *testing.T) {
	s := testkit.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	admin := kvtest.Open(t, kvtest.ServerURL(s))
	kvtest.Run(t, admin, "ACL", "SETUSER", "hosted", "on", ">pw", "~*", "+@all", "-config")
	kvtest.Run(t, admin, "ACL", "SETUSER", "restricted", "on", ">pw", "~*", "+ping", "+select")
	for user, want := range map[string]string{"": "allkeys-lru", "hosted:pw@": "allkeys-lru", "restricted:pw@": ""} {
		r := kvtest.Open(t, "unix://"+user+s.Socket()+"?db=1")
		if got, err := r.EvictionPolicy(t.Context()); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", user, got, err, want)
		}
	}
	if got, err := kvtest.OpenEmbedded(t).EvictionPolicy(t.Context()); err != nil || got != "" {
		t.Errorf("embedded: got %q, %v, want none", got, err)
	}
	_, err := kvtest.Open(t, "redis://127.0.0.1:1").EvictionPolicy(t.Context())
	kvtest.WantUnavailable(t, err)
}
