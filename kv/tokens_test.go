package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

func onEachTokens(t *testing.T, test func(t *testing.T, r *redisconn.Pool, s *Tokens)) {
	t.Helper()
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) { test(t, r, newTokens(t, r)) })
}

func newTokens(t testing.TB, r *redisconn.Pool) *Tokens {
	t.Helper()
	s := NewTokens(r, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// newToken returns a user's token; higher numbers are newer.
func newToken(number int, userID string) auth.Token {
	now := time.Now().UTC().Truncate(time.Second)
	return auth.Token{
		Version: 1, ID: auth.SessionID(fmt.Sprint(number)), TokenID: fmt.Sprintf("id-%d", number), UserID: userID, Epoch: 2,
		Name: "CI", CreatedAt: now.Add(time.Duration(number) * time.Minute), ExpiresAt: now.Add(time.Hour),
	}
}

// epochOf returns a function that reads this epoch.
func epochOf(epoch int64) func(context.Context) (int64, error) {
	return func(context.Context) (int64, error) { return epoch, nil }
}

func createToken(t testing.TB, s *Tokens, rec auth.Token) {
	t.Helper()
	if err := s.Create(t.Context(), rec, epochOf(rec.Epoch)); err != nil {
		t.Fatal(err)
	}
}

func hasToken(t testing.TB, s *Tokens, id string) bool {
	t.Helper()
	_, err := s.Find(t.Context(), id)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// listed returns the public ids in the order of the list.
func listed(t testing.TB, s *Tokens, userID string) []string {
	t.Helper()
	all, err := s.List(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, rec := range all {
		ids = append(ids, rec.TokenID)
	}
	return ids
}

func wantListed(t testing.TB, s *Tokens, userID string, want ...string) {
	t.Helper()
	if got := listed(t, s, userID); !slices.Equal(got, want) {
		t.Errorf("%s: got the tokens %q, want %q", userID, got, want)
	}
}

func TestTokens_FindReturnsWhatWasCreated(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		want := newToken(1, "u1")
		want.Permissions = []string{"a.b"}
		createToken(t, s, want)
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if got, err := s.Find(ctx, want.ID); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
		}); trips != 1 {
			t.Errorf("finding took %d round trips, want 1", trips)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "token:"+want.ID).(int64); ttl <= 3_590_000 || ttl > 3_600_000 {
			t.Errorf("got a TTL of %d ms, want 1 h", ttl)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "tokens:u1").(int64); ttl < 3_600_000 {
			t.Errorf("index: got a TTL of %d ms, want at least 1 h", ttl)
		}
		raw, _ := redis.String(kvtest.Run(t, r, "GET", "token:"+want.ID), nil)
		var fields map[string]any
		if json.Unmarshal([]byte(raw), &fields) != nil || fields["v"] != 1.0 || fields["id"] != want.ID || fields["user_id"] != "u1" || fields["token_id"] != "id-1" {
			t.Errorf("got the record %s", raw)
		}
		if hasToken(t, s, auth.SessionID("2")) {
			t.Error("an unknown token was found")
		}
		// No limit (nil) and no permissions are different.
		all, none := newToken(2, "u1"), newToken(3, "u1")
		none.Permissions = []string{}
		for _, rec := range []auth.Token{all, none} {
			createToken(t, s, rec)
			if got, err := s.Find(t.Context(), rec.ID); err != nil || !reflect.DeepEqual(got, rec) {
				t.Errorf("got %+v, %v; want %+v", got, err, rec)
			}
		}
	})
}

func TestCreate_RefusesInvalidTokens(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		expired, huge := newToken(1, "u1"), newToken(2, "u1")
		expired.ExpiresAt = time.Now()
		for i := range 1000 {
			huge.Permissions = append(huge.Permissions, fmt.Sprintf("app.permission%d", i))
		}
		for what, rec := range map[string]auth.Token{"expired": expired, "huge": huge} {
			if err := s.Create(t.Context(), rec, epochOf(2)); err == nil || kvtest.Exists(t, r, "token:"+rec.ID) {
				t.Errorf("%s: got %v, want an error and nothing stored", what, err)
			}
		}
		// An id is used once: a repeated command does not overwrite the record.
		first, second := newToken(3, "u1"), newToken(3, "u1")
		second.Name = "another"
		createToken(t, s, first)
		createToken(t, s, second)
		if got, err := s.Find(t.Context(), first.ID); err != nil || got.Name != "CI" {
			t.Errorf("got %+v, %v; want the first token", got, err)
		}
	})
}

func TestTokens_RejectInvalidRecords(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		rec := newToken(1, "u1")
		createToken(t, s, rec)
		raw, _ := redis.String(kvtest.Run(t, r, "GET", "token:"+rec.ID), nil)
		other := newToken(2, "u2")
		for what, value := range map[string]string{
			"empty": "", "text": "x", "null": "null", "array": "[]", "object": "{}", "trailing": raw + "}",
			"version": strings.Replace(raw, `"v":1`, `"v":2`, 1), "no version": strings.Replace(raw, `"v":1,`, "", 1),
			"another token's": strings.Replace(raw, rec.ID, other.ID, 1), "no id": strings.Replace(raw, rec.ID, "", 1), "no public id": strings.Replace(raw, "id-1", "", 1),
			"no user": strings.Replace(raw, `"u1"`, `""`, 1), "no epoch": strings.Replace(raw, `"epoch":2,`, "", 1), "negative epoch": strings.Replace(raw, `"epoch":2`, `"epoch":-2`, 1),
			"expired":   strings.Replace(raw, rec.ExpiresAt.Format(time.RFC3339), "2020-01-01T00:00:00Z", 1),
			"no end":    strings.Replace(raw, `"expires_at":"`+rec.ExpiresAt.Format(time.RFC3339)+`",`, "", 1),
			"not UTF-8": strings.Replace(raw, "CI", "\xff", 1), "too large": strings.Replace(raw, "CI", strings.Repeat("x", maxRecord), 1),
		} {
			if value == raw {
				t.Fatalf("%s: nothing to replace in %s", what, raw)
			}
			kvtest.Run(t, r, "SET", "token:"+rec.ID, value)
			if hasToken(t, s, rec.ID) {
				t.Errorf("%s: %s was returned as a token", what, value)
			}
			if ids := listed(t, s, "u1"); len(ids) != 0 {
				t.Errorf("%s: got the list %q, want none", what, ids)
			}
		}
		kvtest.Run(t, r, "DEL", "token:"+rec.ID)
		kvtest.Run(t, r, "RPUSH", "token:"+rec.ID, raw)
		if hasToken(t, s, rec.ID) {
			t.Error("a list was returned as a token")
		}
		// It does not hide the user's other tokens.
		createToken(t, s, newToken(3, "u1"))
		wantListed(t, s, "u1", "id-3")
		if err := s.RevokeAll(t.Context(), "u1"); err != nil || kvtest.Exists(t, r, "token:"+rec.ID) {
			t.Errorf("got %v, want the record deleted", err)
		}
	})
}

func TestTokens_ListsNewestFirst(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		if all, err := s.List(t.Context(), "u1"); err != nil || len(all) != 0 {
			t.Errorf("got %v, %v; want none", all, err)
		}
		for i := range 4 {
			createToken(t, s, newToken(i, "u1"))
		}
		createToken(t, s, newToken(9, "u2"))
		wantListed(t, s, "u1", "id-3", "id-2", "id-1", "id-0") // newest first
		at := time.Now().UTC().Truncate(time.Millisecond)
		s.RecordUse(newToken(1, "u1"), at.Add(-time.Hour))
		s.RecordUse(newToken(1, "u1"), at)
		s.RecordUse(newToken(0, "u1"), at.Add(-time.Minute))
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		all, err := s.List(t.Context(), "u1")
		if err != nil || len(all) != 4 {
			t.Fatalf("got %v, %v; want 4 tokens", all, err)
		}
		for i, want := range []time.Time{{}, {}, at, at.Add(-time.Minute)} {
			if !all[i].LastUsed.Equal(want) || all[i].TokenID != fmt.Sprintf("id-%d", 3-i) {
				t.Errorf("%s was used at %s, want %s", all[i].TokenID, all[i].LastUsed, want)
			}
		}
		// Listing removes expired tokens from the index.
		kvtest.Run(t, r, "DEL", "token:"+newToken(2, "u1").ID)
		wantListed(t, s, "u1", "id-3", "id-1", "id-0")
		if n := kvtest.Run(t, r, "ZCARD", "tokens:u1"); n != int64(3) {
			t.Errorf("got %v members of the index, want 3", n)
		}
		// Another user's token in the index is not listed.
		kvtest.Run(t, r, "ZADD", "tokens:u1", 1, newToken(9, "u2").ID)
		wantListed(t, s, "u1", "id-3", "id-1", "id-0")
		wantListed(t, s, "u2", "id-9")
	})
}

func TestRevoke_OnlyOwnTokens(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		mine, other, theirs := newToken(1, "u1"), newToken(2, "u1"), newToken(3, "u2")
		for _, rec := range []auth.Token{mine, other, theirs} {
			createToken(t, s, rec)
		}
		for what, id := range map[string]string{"another user's": theirs.TokenID, "unknown": "id-9", "the key": mine.ID, "empty": ""} {
			if err := s.Revoke(t.Context(), "u1", id); !errors.Is(err, auth.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", what, err)
			}
		}
		if err := s.Revoke(t.Context(), "u1", mine.TokenID); err != nil {
			t.Fatal(err)
		}
		if hasToken(t, s, mine.ID) || kvtest.Exists(t, r, "token:"+mine.ID) || !hasToken(t, s, other.ID) || !hasToken(t, s, theirs.ID) {
			t.Error("want only the revoked token deleted")
		}
		// A use that is recorded late does not restore it.
		s.RecordUse(mine, time.Now())
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		if n := kvtest.Run(t, r, "ZCARD", "tokens:u1"); n != int64(1) {
			t.Errorf("got %v members of the index, want 1", n)
		}
		if err := s.Revoke(t.Context(), "u1", mine.TokenID); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("revoked again: got %v, want ErrNotFound", err)
		}
		for range 2 {
			if err := s.RevokeAll(t.Context(), "u1"); err != nil {
				t.Fatal(err)
			}
		}
		if hasToken(t, s, other.ID) || kvtest.Exists(t, r, "tokens:u1") || !hasToken(t, s, theirs.ID) {
			t.Error("want only the tokens of the user deleted")
		}
	})
}

// TestTokenLimit_StaleRequestSparesLiveTokens: a delayed request of an older epoch neither creates a token nor deletes one
// of those created since.
func TestTokenLimit_StaleRequestSparesLiveTokens(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		var live []auth.Token
		for i := range auth.MaxTokens {
			rec := newToken(i, "u1")
			rec.Epoch = 3
			createToken(t, s, rec)
			live = append(live, rec)
		}
		stale := newToken(auth.MaxTokens, "u1")
		if err := s.Create(t.Context(), stale, epochOf(3)); !errors.Is(err, auth.ErrTooManyTokens) {
			t.Errorf("got %v, want ErrTooManyTokens", err)
		}
		for _, rec := range live {
			if !hasToken(t, s, rec.ID) {
				t.Fatalf("the live token %s was deleted", rec.TokenID)
			}
		}
		fresh := newToken(auth.MaxTokens+1, "u1")
		fresh.Epoch = 4
		createToken(t, s, fresh)
		if hasToken(t, s, live[0].ID) || !hasToken(t, s, fresh.ID) {
			t.Error("tokens of the old epoch still count toward the limit")
		}
	})
}

func TestTokenLimit_RefusesOneMore(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		for i := range auth.MaxTokens {
			createToken(t, s, newToken(i, "u1"))
		}
		more := newToken(auth.MaxTokens, "u1")
		if err := s.Create(t.Context(), more, epochOf(2)); !errors.Is(err, auth.ErrTooManyTokens) || kvtest.Exists(t, r, "token:"+more.ID) {
			t.Errorf("got %v, want ErrTooManyTokens and nothing stored", err)
		}
		createToken(t, s, newToken(999, "u2")) // other users are not affected
		if err := s.Revoke(t.Context(), "u1", "id-7"); err != nil {
			t.Fatal(err)
		}
		createToken(t, s, more)
		// An expired token no longer counts.
		kvtest.Run(t, r, "DEL", "token:"+newToken(8, "u1").ID)
		createToken(t, s, newToken(101, "u1"))
		if n := len(listed(t, s, "u1")); n != auth.MaxTokens {
			t.Errorf("got %d tokens, want %d", n, auth.MaxTokens)
		}
		// After a password change all of them are invalid and no longer count.
		fresh := newToken(102, "u1")
		fresh.Epoch++
		createToken(t, s, fresh)
		wantListed(t, s, "u1", "id-102")
		if kvtest.Exists(t, r, "token:"+more.ID) || kvtest.Run(t, r, "ZCARD", "tokens:u1") != int64(1) {
			t.Error("the invalid tokens were not deleted")
		}
	})
}

// TestTokenLimit_HoldsForConcurrentRequests: concurrent requests succeed exactly up to the limit, and the others leave
// nothing behind.
func TestTokenLimit_HoldsForConcurrentRequests(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		const have, parallel, workers = 30, 400, 32
		for i := range have {
			createToken(t, s, newToken(i, "u1"))
		}
		var wg sync.WaitGroup
		errs := make(chan error, parallel)
		for w := range workers {
			wg.Go(func() {
				for i := w; i < parallel; i += workers {
					errs <- s.Create(t.Context(), newToken(1000+i, "u1"), epochOf(2))
				}
			})
		}
		wg.Wait()
		close(errs)
		made := 0
		for err := range errs {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, auth.ErrTooManyTokens):
				t.Errorf("got %v, want ErrTooManyTokens", err)
			}
		}
		if made != auth.MaxTokens-have {
			t.Errorf("%d of %d tokens were created, want %d", made, parallel, auth.MaxTokens-have)
		}
		keys, _ := redis.Strings(kvtest.Run(t, r, "KEYS", "token:*"), nil)
		if len(keys) != auth.MaxTokens || len(listed(t, s, "u1")) != auth.MaxTokens {
			t.Errorf("got %d records and %d listed tokens, want %d", len(keys), len(listed(t, s, "u1")), auth.MaxTokens)
		}
	})
}

// TestTokenIndex_OutlivesEveryToken: an index that expired before a token would hide it from its owner.
func TestTokenIndex_OutlivesEveryToken(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		kvtest.Run(t, r, "SET", "tokens:u1", "something else")
		year, hour := newToken(1, "u1"), newToken(2, "u1")
		year.ExpiresAt = time.Now().Add(365 * 24 * time.Hour)
		createToken(t, s, year)
		createToken(t, s, hour)
		if ttl := kvtest.Run(t, r, "PTTL", "tokens:u1").(int64); time.Duration(ttl)*time.Millisecond < 364*24*time.Hour {
			t.Errorf("index: got a TTL of %v, want at least 364 days", time.Duration(ttl)*time.Millisecond)
		}
		wantListed(t, s, "u1", "id-2", "id-1")
	})
}

func TestRecordUse_WritesInOneRoundTrip(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		s := NewTokens(r, slog.New(slog.DiscardHandler))
		rec := newToken(1, "u1")
		createToken(t, s, rec)
		if trips := kvtest.RoundTrips(t, func(context.Context) { s.RecordUse(rec, time.Now()) }); trips != 0 {
			t.Errorf("recording a use took %d round trips, want 0", trips)
		}
		if err := s.Close(); err != nil { // writes what is pending
			t.Fatal(err)
		}
		if all, err := s.List(t.Context(), "u1"); err != nil || len(all) != 1 || time.Since(all[0].LastUsed).Abs() > time.Minute {
			t.Errorf("got %+v, %v; want one token used just now", all, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
	})
}

func TestRecordUse_IsBounded(t *testing.T) {
	s := newTokens(t, kvtest.OpenEmbedded(t))
	s.mu.Lock() // keeps the writer from flushing them
	for i := range maxPendingUses {
		s.pending[fmt.Sprint(i)] = tokenUse{userID: "u1"}
	}
	s.mu.Unlock()
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() { s.RecordUse(auth.Token{ID: fmt.Sprintf("more%d", i), UserID: "u1"}, time.Now()) })
	}
	group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.pending); n > maxPendingUses {
		t.Errorf("got %d pending uses, want at most %d", n, maxPendingUses)
	}
}

func TestRecordUse_IsWrittenInTheBackground(t *testing.T) {
	s := newTokens(t, kvtest.OpenEmbedded(t))
	rec := newToken(1, "u1")
	createToken(t, s, rec)
	s.RecordUse(rec, time.Now())
	kvtest.Eventually(t, "the use is written", func() bool {
		all, err := s.List(t.Context(), "u1")
		return err == nil && len(all) == 1 && !all[0].LastUsed.IsZero()
	})
}

func TestTokens_UnreachableIsUnavailable(t *testing.T) {
	server, r := kvtest.OpenMiniredis(t)
	s := newTokens(t, r)
	rec := newToken(1, "u1")
	createToken(t, s, rec)
	server.SetError(broken)
	_, err := s.Find(t.Context(), rec.ID)
	kvtest.WantUnavailable(t, err)
	if errors.Is(err, auth.ErrNotFound) {
		t.Error("got ErrNotFound from an unreachable Redis")
	}
	_, err = s.List(t.Context(), "u1")
	kvtest.WantUnavailable(t, err)
	kvtest.WantUnavailable(t, s.Create(t.Context(), newToken(2, "u1"), epochOf(2)))
	kvtest.WantUnavailable(t, s.Revoke(t.Context(), "u1", rec.TokenID))
	kvtest.WantUnavailable(t, s.RevokeAll(t.Context(), "u1"))
	s.RecordUse(rec, time.Now())
	kvtest.WantUnavailable(t, s.Close())
	server.SetError("")
	if !hasToken(t, s, rec.ID) || hasToken(t, s, newToken(2, "u1").ID) {
		t.Error("a refused operation changed the tokens")
	}
}

func TestIndex_KeepsTheNewestMembers(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		x := index{r, "things:", "thing"}
		now := time.UnixMilli(1_800_000_000_000).UTC()
		add := func(id string, at time.Time, lifetime time.Duration) {
			t.Helper()
			if _, err := x.add(t.Context(), "u1", id, at, lifetime); err != nil {
				t.Fatal(err)
			}
		}
		add("a", now, time.Hour)
		if ttl := kvtest.Run(t, r, "PTTL", "things:u1").(int64); ttl <= indexTTL.Milliseconds()-10_000 || ttl > indexTTL.Milliseconds() {
			t.Errorf("got a TTL of %d ms, want 60 days", ttl)
		}
		year := 365 * 24 * time.Hour
		add("b", now.Add(time.Second), year)
		if ttl := kvtest.Run(t, r, "PTTL", "things:u1").(int64); ttl <= year.Milliseconds()-10_000 {
			t.Errorf("got a TTL of %d ms, want at least that of the longest member", ttl)
		}
		if _, err := r.Pipeline(t.Context(), redisconn.Idempotent("test"), x.touch("u1", "a", now.Add(time.Minute)), x.touch("u1", "nosuch", now)); err != nil {
			t.Fatal(err)
		}
		got, err := x.members(t.Context(), "u1")
		if want := []member{{"a", now.Add(time.Minute)}, {"b", now.Add(time.Second)}}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		if _, err := r.Do(t.Context(), redisconn.Idempotent("test"), x.drop("u1", "a")); err != nil {
			t.Fatal(err)
		}
		if ids, err := x.allIDs(t.Context(), "u1"); err != nil || !slices.Equal(ids, []string{"b"}) {
			t.Errorf("got %q, %v; want b", ids, err)
		}
		for i := range indexCap + 5 {
			kvtest.Run(t, r, "ZADD", "things:u1", i+1, fmt.Sprint(i))
		}
		add("c", now, time.Hour)
		ids, err := x.allIDs(t.Context(), "u1")
		if err != nil || len(ids) != indexCap || !slices.Contains(ids, "c") || slices.Contains(ids, "0") {
			t.Errorf("got %d members, %v; want the newest %d", len(ids), err, indexCap)
		}
		if got, err := x.members(t.Context(), "u1"); err != nil || len(got) != listCap || got[0].id != "b" || got[1].id != "c" {
			t.Errorf("got %d members, %v; want the newest %d", len(got), err, listCap)
		}
		if err := x.remove(t.Context(), "u1", ids[:indexCap-1]); err != nil || kvtest.Run(t, r, "ZCARD", "things:u1") != int64(1) {
			t.Errorf("got %v, want only the last member left", err)
		}
		// A key of another type is replaced.
		kvtest.Run(t, r, "SET", "things:u1", "x")
		add("d", now, time.Hour)
		if ids, err := x.allIDs(t.Context(), "u1"); err != nil || !slices.Equal(ids, []string{"d"}) {
			t.Errorf("got %q, %v; want d", ids, err)
		}
	})
}

// TestEndStale_TokensStayRefused: a token of another epoch can no longer match any epoch of its owner. Its record is kept,
// so that the error can give the reason.
func TestEndStale_TokensStayRefused(t *testing.T) {
	onEachTokens(t, func(t *testing.T, r *redisconn.Pool, s *Tokens) {
		for n, epoch := range []int64{2, 9, 5} {
			rec := newToken(n, "u1")
			rec.Epoch = epoch
			kvtest.Run(t, r, "DEL", "tokens:u1") // Create deletes stale ones
			createToken(t, s, rec)
		}
		for n := range 3 {
			kvtest.Run(t, r, "ZADD", "tokens:u1", 0, newToken(n, "u1").ID)
		}
		if err := s.EndStale(t.Context(), "u1", func(context.Context) (int64, error) { return 5, nil }); err != nil {
			t.Fatal(err)
		}
		for n, want := range []int64{0, 0, 5} {
			rec, err := s.Find(t.Context(), newToken(n, "u1").ID)
			if err != nil || rec.Epoch != want || rec.Name != "CI" {
				t.Errorf("token %d: got %+v, %v; want epoch %d", n, rec, err, want)
			}
			if ttl := kvtest.Run(t, r, "PTTL", "token:"+rec.ID).(int64); ttl <= 0 || ttl > time.Hour.Milliseconds() {
				t.Errorf("token %d: got a TTL of %d ms, want at most 1 h", n, ttl)
			}
		}
		if err := s.EndStale(t.Context(), "u1", func(context.Context) (int64, error) { return 0, auth.ErrNotFound }); err != nil || hasToken(t, s, newToken(2, "u1").ID) {
			t.Errorf("after the user was deleted: got %v, want the tokens deleted", err)
		}
	})
}
