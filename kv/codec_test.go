package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

func testID(n int) string { return auth.SessionID("cookie " + strconv.Itoa(n)) }

// newSession returns a session as sign-in makes it.
func newSession(n int, userID string) auth.Session {
	now := time.Now().UTC().Truncate(time.Second)
	return auth.Session{
		Version: auth.SessionVersion, ID: testID(n), UserID: userID, Epoch: 3, CreatedAt: now, SignedInAt: now,
		Deadline: now.Add(24 * time.Hour), IdleSeconds: 7200, Methods: []string{"pwd"},
		UserAgent: `Mozilla/5.0 "<é>"`, Address: "192.0.2.1",
	}
}

func encode(t testing.TB, rec auth.Session) []byte {
	t.Helper()
	b, err := Codec{}.Encode(rec.Deadline, map[string]any{auth.SessionValueKey: rec})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, b []byte) (auth.Session, bool) {
	t.Helper()
	deadline, values, err := Codec{}.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if values == nil || len(values) > 1 {
		t.Fatalf("got values %v, want a map of at most one", values)
	}
	rec, ok := values[auth.SessionValueKey].(auth.Session)
	if ok && !deadline.Equal(rec.Deadline) {
		t.Fatalf("got deadline %s, want %s", deadline, rec.Deadline)
	}
	return rec, ok
}

func TestCodec_DecodesWhatItEncoded(t *testing.T) {
	want := newSession(1, "u1")
	b, err := Codec{}.Encode(want.Deadline.Add(999*time.Millisecond).In(time.FixedZone("x", 3600)), map[string]any{auth.SessionValueKey: want})
	if err != nil {
		t.Fatal(err)
	}
	if deadline := `"deadline":"` + want.Deadline.Format("2006-01-02T15:04:05Z") + `"`; !bytes.Contains(b, []byte(deadline)) {
		t.Errorf("got %s, want it to contain %s", b, deadline)
	}
	if got, ok := decode(t, b); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestCodec_EncodeRefusesOtherValues(t *testing.T) {
	rec := newSession(1, "u1")
	long := rec
	long.UserAgent = strings.Repeat("a", maxRecord)
	for name, values := range map[string]map[string]any{
		"nothing":   {},
		"pointer":   {auth.SessionValueKey: &rec},
		"other key": {"x": rec},
		"two":       {auth.SessionValueKey: rec, "x": 1},
		"too long":  {auth.SessionValueKey: long},
	} {
		if b, err := (Codec{}).Encode(rec.Deadline, values); err == nil {
			t.Errorf("%s: got %s, want an error", name, b)
		}
	}
}

func TestCodec_DecodesDamageAsAnonymous(t *testing.T) {
	whole := encode(t, newSession(1, "u1"))
	if _, ok := decode(t, whole); !ok {
		t.Fatal("a valid record is refused")
	}
	damaged := map[string][]byte{
		"empty": nil, "short": []byte("1234567"), "null": []byte("null"),
		"array": []byte("[]"), "object": []byte("{}"), "gob": []byte("\x03\x04\xff"),
		"trailing garbage": append(bytes.Clone(whole), '}'),
		"twice":            append(bytes.Clone(whole), whole...), "cut": whole[:len(whole)-1],
		"over 8 KiB": append(bytes.Clone(whole), bytes.Repeat([]byte(" "), maxRecord)...),
		"not UTF-8":  bytes.Replace(whole, []byte("Mozilla"), []byte("Mo\xffilla"), 1),
	}
	for name, change := range map[string]func(map[string]any){
		"old version":      func(m map[string]any) { m["v"] = 0 },
		"other version":    func(m map[string]any) { m["v"] = 2 },
		"version text":     func(m map[string]any) { m["v"] = "1" },
		"no version":       func(m map[string]any) { delete(m, "v") },
		"no id":            func(m map[string]any) { delete(m, "id") },
		"short id":         func(m map[string]any) { m["id"] = "x" },
		"no user":          func(m map[string]any) { delete(m, "user_id") },
		"user is a number": func(m map[string]any) { m["user_id"] = 7 },
		"no epoch":         func(m map[string]any) { delete(m, "epoch") },
		"epoch null":       func(m map[string]any) { m["epoch"] = nil },
		"epoch negative":   func(m map[string]any) { m["epoch"] = -1 },
		"epoch fraction":   func(m map[string]any) { m["epoch"] = 1.5 },
		"no deadline":      func(m map[string]any) { delete(m, "deadline") },
		"deadline text":    func(m map[string]any) { m["deadline"] = "tomorrow" },
		"deadline past":    func(m map[string]any) { m["deadline"] = time.Now().Add(-time.Second) },
		"no idle time":     func(m map[string]any) { delete(m, "idle_seconds") },
		"idle negative":    func(m map[string]any) { m["idle_seconds"] = -5 },
		"idle overflows":   func(m map[string]any) { m["idle_seconds"] = int64(1) << 60 },
		"methods text":     func(m map[string]any) { m["amr"] = "pwd" },
	} {
		var m map[string]any
		if err := json.Unmarshal(whole, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		damaged[name] = b
	}
	for name, b := range damaged {
		if rec, ok := decode(t, b); ok {
			t.Errorf("%s: got %+v, want no session", name, rec)
		}
	}
}

func FuzzDecode(f *testing.F) {
	whole := encode(f, newSession(1, "u1"))
	f.Add(whole)
	f.Add(whole[1:])
	f.Add([]byte(`{"v":1,"id":"","user_id":"u"}12345678`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, ok := decode(t, b)
		if !ok {
			return
		}
		if !rec.Valid(rec.ID, time.Now()) || len(rec.ID) != auth.HashLength || rec.Epoch < 0 || rec.Idle() <= 0 || len(b) > maxRecord {
			t.Fatalf("got the invalid session %+v from %q", rec, b)
		}
		if rec.FreshTTL(time.Now()) > rec.Idle() {
			t.Fatalf("the TTL exceeds the idle time: %+v", rec)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	found := encode(b, newSession(1, "u1"))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := decode(b, found); !ok {
			b.Fatal("the record was refused")
		}
	}
}

func BenchmarkFindCtx(b *testing.B) {
	for name, openRedis := range map[string]func() *redisconn.Pool{
		"embedded": func() *redisconn.Pool { return kvtest.OpenEmbedded(b) },
		"server":   func() *redisconn.Pool { return kvtest.OpenServer(b) },
	} {
		b.Run(name, func(b *testing.B) {
			r := openRedis()
			s := NewSessions(r)
			if err := s.CommitCtx(b.Context(), testID(1), encode(b, newSession(1, "u1")), time.Time{}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, ok, err := s.FindCtx(context.Background(), testID(1)); err != nil || !ok {
						b.Error(ok, err)
						return
					}
				}
			})
		})
	}
}
