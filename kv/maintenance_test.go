package kv

import (
	"context"
	"reflect"
	"testing"
	"time"

	"gatehouse/auth"
)

func TestMaintenance(t *testing.T) {
	onEach(t, func(t *testing.T, r *Redis) {
		m := NewMaintenance(r)
		if got, err := m.Maintenance(t.Context()); got != nil || err != nil {
			t.Errorf("got %+v, %v; want none", got, err)
		}
		want := auth.Maintenance{Message: "back at nine <b>", Since: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
		if err := m.SetMaintenance(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		want.Version = 1
		if trips := cost(t, func(ctx context.Context) {
			if got, err := m.Maintenance(ctx); err != nil || got == nil || !reflect.DeepEqual(*got, want) {
				t.Errorf("got %+v, %v", got, err)
			}
		}); trips != 1 {
			t.Errorf("asking took %d round trips, want 1", trips)
		}
		if ttl := run(t, r, "PTTL", "maintenance"); ttl != int64(-1) {
			t.Errorf("it ends by itself in %v ms", ttl)
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

// Somebody wanted the site closed; what they wrote cannot be read.
func TestUnreadableMaintenanceCloses(t *testing.T) {
	onEach(t, func(t *testing.T, r *Redis) {
		m := NewMaintenance(r)
		closed := func(what string) {
			t.Helper()
			if got, err := m.Maintenance(t.Context()); err != nil || got == nil || got.Message != "" {
				t.Errorf("%s: got %+v, %v; want closed without a message", what, got, err)
			}
		}
		for _, value := range []string{"", "x", "on", "null", "{}", `{"v":2,"message":"x"}`, `{"message":"x"}`, `{"v":1,"message":7}`} {
			run(t, r, "SET", "maintenance", value)
			closed(value)
		}
		run(t, r, "DEL", "maintenance")
		run(t, r, "RPUSH", "maintenance", "x")
		closed("a list")
		if err := m.EndMaintenance(t.Context()); err != nil || exists(t, r, "maintenance") {
			t.Errorf("it cannot be ended: %v", err)
		}
	})
}

func TestMaintenanceUnreachable(t *testing.T) {
	e := startEmbedded(t)
	m := NewMaintenance(open(t, e.URL()))
	if err := m.SetMaintenance(t.Context(), auth.Maintenance{}); err != nil {
		t.Fatal(err)
	}
	e.server.SetError(broken)
	got, err := m.Maintenance(t.Context())
	wantUnavailable(t, err)
	if got != nil {
		t.Errorf("got %+v", got)
	}
	wantUnavailable(t, m.SetMaintenance(t.Context(), auth.Maintenance{}))
	wantUnavailable(t, m.EndMaintenance(t.Context()))
}
