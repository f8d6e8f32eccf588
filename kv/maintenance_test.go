package kv

import (
	"context"
	"reflect"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

func TestMaintenance_LastsUntilItIsEnded(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		m := NewMaintenance(r)
		if got, err := m.Maintenance(t.Context()); got != nil || err != nil {
			t.Errorf("got %+v, %v; want none", got, err)
		}
		want := auth.Maintenance{Message: "back at nine <b>", Since: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), By: "ops"}
		if err := m.SetMaintenance(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		want.Version = 1
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if got, err := m.Maintenance(ctx); err != nil || got == nil || !reflect.DeepEqual(*got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		}); trips != 1 {
			t.Errorf("reading took %d round trips, want 1", trips)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "maintenance"); ttl != int64(-1) {
			t.Errorf("got a TTL of %v ms, want none", ttl)
		}
		for range 2 {
			if err := m.EndMaintenance(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := m.Maintenance(t.Context()); got != nil || err != nil {
				t.Errorf("got %+v, %v; want none", got, err)
			}
		}
	})
}

// TestMaintenance_InvalidValueCloses: an invalid value still means that an operator closed the site.
func TestMaintenance_InvalidValueCloses(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		m := NewMaintenance(r)
		closed := func(what string) {
			t.Helper()
			if got, err := m.Maintenance(t.Context()); err != nil || got == nil || got.Message != "" {
				t.Errorf("%s: got %+v, %v; want closed without a message", what, got, err)
			}
		}
		for _, value := range []string{"", "x", "on", "null", "{}", `{"v":2,"message":"x"}`, `{"message":"x"}`, `{"v":1,"message":7}`} {
			kvtest.Run(t, r, "SET", "maintenance", value)
			closed(value)
		}
		kvtest.Run(t, r, "DEL", "maintenance")
		kvtest.Run(t, r, "RPUSH", "maintenance", "x")
		closed("a list")
		if err := m.EndMaintenance(t.Context()); err != nil || kvtest.Exists(t, r, "maintenance") {
			t.Errorf("EndMaintenance: got %v, want the key deleted", err)
		}
	})
}

func TestMaintenance_UnreachableIsUnavailable(t *testing.T) {
	server, r := kvtest.OpenMiniredis(t)
	m := NewMaintenance(r)
	if err := m.SetMaintenance(t.Context(), auth.Maintenance{}); err != nil {
		t.Fatal(err)
	}
	server.SetError(broken)
	got, err := m.Maintenance(t.Context())
	kvtest.WantUnavailable(t, err)
	if got != nil {
		t.Errorf("got %+v, want none", got)
	}
	kvtest.WantUnavailable(t, m.SetMaintenance(t.Context(), auth.Maintenance{}))
	kvtest.WantUnavailable(t, m.EndMaintenance(t.Context()))
}
