package auth_test

import (
	"context"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// 32 characters of base62 are 190 bits; CRC-32 fits into six.
var tokenFormat = regexp.MustCompile(`^gatehouse_[0-9A-Za-z]{32}[0-9A-Za-z]{6}$`)

func TestNewTokenSecret_IsWellFormedAndUnique(t *testing.T) {
	seen := map[string]bool{}
	used := map[rune]bool{}
	for range 500 {
		secret := auth.NewTokenSecret()
		if !tokenFormat.MatchString(secret) || seen[secret] {
			t.Fatalf("got %q, which is malformed or a duplicate", secret)
		}
		seen[secret] = true
		for _, c := range secret[len(auth.TokenPrefix) : len(secret)-6] {
			used[c] = true
		}
		if _, err := auth.TokenID(secret); err != nil {
			t.Errorf("%q: %v", secret, err)
		}
	}
	if len(used) != len(base62) {
		t.Errorf("got %d different characters, want all %d", len(used), len(base62))
	}
}

// TestTokenID_MatchesTheDocumentedFormat: secret scanners and clients in other languages depend on the format.
func TestTokenID_MatchesTheDocumentedFormat(t *testing.T) {
	for secret, want := range map[string]string{
		"gatehouse_000000000000000000000000000000004JTOy0": "YSTWnLn2taXqKBhkrz6-174L0UvuWmyVBg9LNWQMaG8",
		"gatehouse_abcdefghijklmnopqrstuvwxyzABCDEF0lvIBm": "Ui4TX6RCsrEe6-TlbY6Lb6eLMrCv1_EKhMD2vGfXFzc",
	} {
		if got, err := auth.TokenID(secret); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %s", secret, got, err, want)
		}
	}
	good := auth.NewTokenSecret()
	for _, s := range []string{
		"", "gatehouse_", good[1:], good[:len(good)-1], good + "0", " " + good, good + "\n", strings.ToUpper(good), strings.ToLower(good),
		"github_pat" + good[10:], strings.Replace(good, "gatehouse_", "Gatehouse_", 1), strings.Repeat("x", len(good)), good + good,
	} {
		if id, err := auth.TokenID(s); err != auth.ErrTokenMalformed || id != "" {
			t.Errorf("%q: got %q, %v; want ErrTokenMalformed and no id", s, id, err)
		}
	}
}

// TestTokenID_DetectsTypos replaces every character by every other one and swaps all adjacent characters: each of these is
// refused without a store call.
func TestTokenID_DetectsTypos(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	secret := w.token(t, u, auth.TokenRequest{Name: "CI"})
	refused := func(wrong string) {
		t.Helper()
		if _, _, err := w.AuthenticateToken(t.Context(), wrong); err != auth.ErrTokenMalformed {
			t.Errorf("%q for %q: got %v, want ErrTokenMalformed", wrong, secret, err)
		}
	}
	for i := range secret {
		for _, c := range base62 + "_-. \x00\xff" {
			if wrong := secret[:i] + string(c) + secret[i+1:]; wrong != secret {
				refused(wrong)
			}
		}
		if i > 0 && secret[i] != secret[i-1] {
			refused(secret[:i-1] + secret[i:i+1] + secret[i-1:i] + secret[i+1:])
		}
	}
	wantCalls(t, w.Calls())
	if _, _, err := w.AuthenticateToken(t.Context(), secret); err != nil {
		t.Errorf("the right token: %v", err)
	}
}

// token creates a token and clears the recorded calls.
func (w *world) token(t testing.TB, owner auth.User, r auth.TokenRequest) string {
	t.Helper()
	secret, _, err := w.NewToken(t.Context(), owner, r)
	if err != nil {
		t.Fatal(err)
	}
	w.Reset()
	return secret
}

func TestNewToken_StoresWhatItReturns(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	u.Epoch, u.Permissions = 7, []string{auth.ManageUsers, "books.read"}
	secret, got, err := w.NewToken(t.Context(), u, auth.TokenRequest{
		Name: "  Build  server ", Lifetime: time.Hour, Permissions: []string{"users.view", "books.read", "users.view"},
	})
	if err != nil {
		t.Fatal(err)
	}
	id, err := auth.TokenID(secret)
	if err != nil {
		t.Fatal(err)
	}
	stored, ok := w.Stores.Tokens.Record(id)
	if !ok || !reflect.DeepEqual(stored, got) {
		t.Errorf("got %+v, stored is %+v", got, stored)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]`).MatchString(got.TokenID) {
		t.Errorf("the token id is %q, want a UUIDv7", got.TokenID)
	}
	got.TokenID = ""
	want := auth.Token{
		Version: 1, ID: id, UserID: u.ID, Epoch: 7, Name: "Build server", Hint: auth.TokenHint(secret), CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
		Permissions: []string{"books.read", "users.view"}, // sorted, without duplicates
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if log := w.log.String(); strings.Contains(log, secret) || strings.Contains(log, id) || !strings.Contains(log, `msg="token created" event=true username=alice`) {
		t.Errorf("unexpected log: %s", log)
	}
	// Omitted fields have their default; nil permissions mean all, an empty list none.
	_, all, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x"})
	if err != nil || !all.ExpiresAt.Equal(noon.Add(72*time.Hour)) || all.Permissions != nil {
		t.Errorf("got %+v, %v; want 72 hours and all permissions", all, err)
	}
	_, none, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Permissions: []string{}})
	if err != nil || none.Permissions == nil || len(none.Permissions) != 0 {
		t.Errorf("got %+v, %v; want a token without permissions", none, err)
	}
}

func TestNewToken_EndsAtTheRequestedTime(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	at := noon.Add(36*time.Hour + 59*time.Second)
	_, got, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Lifetime: time.Hour, ExpiresAt: at})
	if err != nil || !got.ExpiresAt.Equal(at) {
		t.Errorf("got %s, %v; want %s", got.ExpiresAt, err, at)
	}
	for _, at := range []time.Time{noon, noon.Add(-time.Hour), noon.Add(auth.MaxTokenLifetime + time.Second), time.Unix(0, 0)} {
		_, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", ExpiresAt: at})
		if wrong, ok := errors.AsType[auth.ValidationErrors](err); !ok || wrong["lifetime"] == "" {
			t.Errorf("%s: got %v, want an invalid lifetime", at, err)
		}
	}
}

// TestTokenHint_RevealsFourCharactersOfEitherEnd: more would weaken the secret.
func TestTokenHint_RevealsFourCharactersOfEitherEnd(t *testing.T) {
	const secret = "gatehouse_abcdefghijklmnopqrstuvwxyzABCDEF0lvIBm"
	if got := auth.TokenHint(secret); got != "gatehouse_abcd…vIBm" {
		t.Errorf("got %q", got)
	}
}

func TestNewToken_RefusesInvalidRequests(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	u.Permissions = []string{"users.view"}
	const (
		noName   = "Give the token a name that you will recognize."
		lifetime = "A token lives for at least a minute and at most a year."
	)
	year := 366 * 24 * time.Hour
	for what, c := range map[string]struct {
		request auth.TokenRequest
		want    auth.ValidationErrors
	}{
		"no name":      {auth.TokenRequest{}, auth.ValidationErrors{"name": noName}},
		"blank name":   {auth.TokenRequest{Name: " \t "}, auth.ValidationErrors{"name": noName}},
		"spaces":       {auth.TokenRequest{Name: "   "}, auth.ValidationErrors{"name": noName}},
		"control name": {auth.TokenRequest{Name: "a\x00b"}, auth.ValidationErrors{"name": "Some characters can't be used in a name; type it again."}},
		"too short":    {auth.TokenRequest{Name: "x", Lifetime: time.Minute - 1}, auth.ValidationErrors{"lifetime": lifetime}},
		"negative":     {auth.TokenRequest{Name: "x", Lifetime: -time.Hour}, auth.ValidationErrors{"lifetime": lifetime}},
		"too long":     {auth.TokenRequest{Name: "x", Lifetime: year + 1}, auth.ValidationErrors{"lifetime": lifetime}},
		"not owned":    {auth.TokenRequest{Name: "x", Permissions: []string{"users.view", "users.manage"}}, auth.ValidationErrors{"permissions": "You do not have the permission users.manage yourself."}},
		"everything": {auth.TokenRequest{Lifetime: 1, Permissions: []string{"a.b"}},
			auth.ValidationErrors{"name": noName, "lifetime": lifetime, "permissions": "You do not have the permission a.b yourself."}},
	} {
		t.Run(what, func(t *testing.T) {
			secret, token, err := w.NewToken(t.Context(), u, c.request)
			wantInvalid(t, err, c.want)
			if secret != "" || token.ID != "" {
				t.Errorf("got %q and %+v, want neither", secret, token)
			}
		})
	}
	wantCalls(t, w.Calls())
	for _, lives := range []time.Duration{time.Minute, year} {
		if _, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Lifetime: lives}); err != nil {
			t.Errorf("%s: %v", lives, err)
		}
	}
	// users.manage implies users.view, so the owner can give users.view to a token.
	u.Permissions = []string{"users.manage"}
	if _, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Permissions: []string{"users.view"}}); err != nil {
		t.Error(err)
	}
	w.FailOn("tokens.Create", auth.ErrTooManyTokens)
	secret, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x"})
	if !errors.Is(err, auth.ErrTooManyTokens) || secret != "" {
		t.Errorf("got %q, %v; want ErrTooManyTokens and no secret", secret, err)
	}
	w.FailOn("tokens.Create", errDown)
	secret, _, err = w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x"})
	if !errors.Is(err, auth.ErrUnavailable) || secret != "" {
		t.Errorf("got %q, %v; want ErrUnavailable and no secret", secret, err)
	}
}

func TestAuthenticateToken_UsesNoSQL(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	secret := w.token(t, u, auth.TokenRequest{Name: "CI"})
	id, _ := auth.TokenID(secret)
	got, token, err := w.AuthenticateToken(t.Context(), secret)
	if err != nil || got.ID != u.ID || token.ID != id || token.Name != "CI" {
		t.Fatalf("got %+v, %+v, %v; want alice and the token CI", got, token, err)
	}
	w.Reset()
	if _, _, err := w.AuthenticateToken(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	// No SQL and no password hash; the use is recorded in the background.
	wantCalls(t, w.Calls(), "tokens.Find "+id, "cache.User "+u.ID, "tokens.RecordUse "+token.TokenID)
	if rec, _ := w.Stores.Tokens.Record(id); !rec.LastUsed.Equal(noon) {
		t.Errorf("last used: got %s, want %s", rec.LastUsed, noon)
	}
}

func TestAuthenticateToken_RefusesInvalidTokens(t *testing.T) {
	for what, c := range map[string]struct {
		change func(t *testing.T, w *world, u auth.User, id string)
		want   error
	}{
		"unknown": {func(_ *testing.T, w *world, u auth.User, _ string) {
			_ = w.Stores.Tokens.RevokeAll(context.Background(), u.ID)
		}, auth.ErrTokenUnknown},
		"deleted user": {func(_ *testing.T, w *world, _ auth.User, id string) {
			rec, _ := w.Stores.Tokens.Record(id)
			rec.UserID = "u-unknown"
			w.Stores.Tokens.Put(id, rec)
		}, auth.ErrTokenUnknown},
		"disabled": {func(t *testing.T, w *world, u auth.User, _ string) {
			if _, err := w.SetActive(t.Context(), u.ID, false); err != nil {
				t.Fatal(err)
			}
		}, auth.ErrUserDisabled},
		"enabled again": {func(t *testing.T, w *world, u auth.User, _ string) {
			_, _ = w.SetActive(t.Context(), u.ID, false)
			_, _ = w.SetActive(t.Context(), u.ID, true)
		}, auth.ErrTokenInvalidated},
		"password changed": {func(t *testing.T, w *world, u auth.User, _ string) {
			if _, err := w.SetPassword(t.Context(), u, newSecret); err != nil {
				t.Fatal(err)
			}
		}, auth.ErrTokenInvalidated},
		"signed out everywhere": {func(t *testing.T, w *world, u auth.User, _ string) {
			_, _ = w.SignOutEverywhere(t.Context(), u.ID, "")
		}, auth.ErrTokenInvalidated},
		"later epoch": {func(_ *testing.T, w *world, u auth.User, id string) {
			rec, _ := w.Stores.Tokens.Record(id)
			rec.Epoch++
			w.Stores.Tokens.Put(id, rec)
		}, auth.ErrTokenInvalidated},
		"token store down": {func(_ *testing.T, w *world, _ auth.User, _ string) { w.FailOn("tokens.", errDown) }, auth.ErrUnavailable},
		"cache and database down": {func(_ *testing.T, w *world, _ auth.User, _ string) {
			w.FailOn("cache.", errDown)
			w.FailOn("users.", errDown)
		}, auth.ErrUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			u := w.add(t, "alice")
			secret := w.token(t, u, auth.TokenRequest{Name: "CI"})
			id, _ := auth.TokenID(secret)
			c.change(t, w, u, id)
			w.Reset()
			got, token, err := w.AuthenticateToken(t.Context(), secret)
			wantError(t, err, c.want)
			if got.ID != "" || token.ID != "" || len(w.Calls("tokens.RecordUse")) != 0 {
				t.Errorf("got %+v, %+v after %v, want neither a user nor a token, and no recorded use", got, token, w.Calls())
			}
			for _, other := range []error{auth.ErrTokenUnknown, auth.ErrTokenInvalidated, auth.ErrTokenMalformed, auth.ErrUserDisabled, auth.ErrUnavailable} {
				if other != c.want && errors.Is(err, other) {
					t.Errorf("got %v, which is %v as well", err, other)
				}
			}
		})
	}
}

func TestToken_EffectivePermissions(t *testing.T) {
	owned := []string{"books.read", "books.write"}
	for what, c := range map[string]struct {
		token, owned, want []string
	}{
		"not limited":                 {nil, owned, owned},
		"limited to none":             {[]string{}, owned, []string{}},
		"limited to one":              {[]string{"books.read"}, owned, []string{"books.read"}},
		"the owner lost one":          {[]string{"books.read", "users.view"}, owned, []string{"books.read"}},
		"the owner lost all":          {[]string{"books.read"}, nil, []string{}},
		"not limited, owner has none": {nil, nil, nil},
		"implied":                     {[]string{"users.view"}, []string{"users.manage"}, []string{"users.view"}},
		"view does not imply manage":  {[]string{"users.manage"}, []string{"users.view"}, []string{}},
	} {
		token := auth.Token{Permissions: slices.Clone(c.token)}
		if got := token.EffectivePermissions(c.owned); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		if !slices.Equal(token.Permissions, c.token) {
			t.Errorf("%s: the token was changed to %q", what, token.Permissions)
		}
	}
}

func TestToken_Valid(t *testing.T) {
	good := auth.Token{Version: 1, ID: "a", UserID: "u", ExpiresAt: noon}
	for what, c := range map[string]struct {
		change func(*auth.Token)
		now    time.Time
		want   bool
	}{
		"good":            {func(*auth.Token) {}, noon.Add(-1), true},
		"expired":         {func(*auth.Token) {}, noon, false},
		"other version":   {func(t *auth.Token) { t.Version = 2 }, noon.Add(-1), false},
		"another token's": {func(t *auth.Token) { t.ID = "b" }, noon.Add(-1), false},
		"no user":         {func(t *auth.Token) { t.UserID = "" }, noon.Add(-1), false},
	} {
		token := good
		c.change(&token)
		if got := token.Valid("a", c.now); got != c.want {
			t.Errorf("%s: got %v, want %v", what, got, c.want)
		}
	}
}

func TestRevokeToken_RevokesOnlyTheOwnersTokens(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.add(t, "alice"), w.add(t, "bob")
	secret := w.token(t, alice, auth.TokenRequest{Name: "CI"})
	_, token, err := w.AuthenticateToken(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, w.RevokeToken(t.Context(), bob, token.TokenID), auth.ErrNotFound)
	wantError(t, w.RevokeToken(t.Context(), alice, token.ID), auth.ErrNotFound) // not by the hash
	if _, _, err := w.AuthenticateToken(t.Context(), secret); err != nil {
		t.Fatalf("another user revoked it: %v", err)
	}
	if err := w.RevokeToken(t.Context(), alice, token.TokenID); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.AuthenticateToken(t.Context(), secret)
	wantError(t, err, auth.ErrTokenUnknown)
	wantError(t, w.RevokeToken(t.Context(), alice, token.TokenID), auth.ErrNotFound)
	one, two := w.token(t, alice, auth.TokenRequest{Name: "1"}), w.token(t, bob, auth.TokenRequest{Name: "2"})
	if err := w.RevokeAllTokens(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.AuthenticateToken(t.Context(), one)
	wantError(t, err, auth.ErrTokenUnknown)
	if _, _, err := w.AuthenticateToken(t.Context(), two); err != nil {
		t.Errorf("bob's token was revoked too: %v", err)
	}
	w.FailOn("tokens.", errDown)
	wantError(t, w.RevokeToken(t.Context(), bob, "x"), auth.ErrUnavailable)
	wantError(t, w.RevokeAllTokens(t.Context(), bob), auth.ErrUnavailable)
	if log := w.log.String(); strings.Count(log, "token revoked") != 1 || strings.Count(log, "all tokens revoked") != 1 {
		t.Errorf("unexpected log: %s", log)
	}
}

// TestLimitedToken_ActsWithoutGroups: the user of a limited token has only the token's permissions, and no groups.
func TestLimitedToken_ActsWithoutGroups(t *testing.T) {
	owner := auth.User{ID: "u", Groups: []string{"admin", "staff"}, Permissions: []string{"books.read", "users.manage"}}
	for name, c := range map[string]struct{ limit, permissions, groups []string }{
		"unlimited": {nil, owner.Permissions, owner.Groups},
		"none":      {[]string{}, nil, nil},
		"one":       {[]string{"books.read"}, []string{"books.read"}, nil},
		"implied":   {[]string{"users.view"}, []string{"users.view"}, nil},
		"not owned": {[]string{"reports.view"}, nil, nil},
	} {
		token := auth.Token{Permissions: c.limit}
		got := token.Restrict(owner)
		if !slices.Equal(got.Permissions, c.permissions) || !slices.Equal(got.Groups, c.groups) || got.ID != "u" {
			t.Errorf("%s: got %+v, want permissions %q and groups %q", name, got, c.permissions, c.groups)
		}
	}
	if len(owner.Groups) != 2 || len(owner.Permissions) != 2 {
		t.Errorf("the owner was changed: %+v", owner)
	}
}
