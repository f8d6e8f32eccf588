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

func TestTokenSecrets(t *testing.T) {
	seen := map[string]bool{}
	used := map[rune]bool{}
	for range 500 {
		secret := auth.NewTokenSecret()
		if !tokenFormat.MatchString(secret) || seen[secret] {
			t.Fatalf("got %q, or got it twice", secret)
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
		t.Errorf("only %d characters are used, want all %d", len(used), len(base62))
	}
}

// The format is a contract: secret scanners and readers in other languages know it.
func TestTokenID(t *testing.T) {
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
			t.Errorf("%q: got %q, %v", s, id, err)
		}
	}
}

// TestMistypedTokensAreRefusedUnasked changes every character into every other one, and swaps
// every two neighbours: nobody is asked about any of these.
func TestMistypedTokensAreRefusedUnasked(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	secret := w.token(t, u, auth.TokenRequest{Name: "CI"})
	refused := func(wrong string) {
		t.Helper()
		if _, _, err := w.AuthenticateToken(t.Context(), wrong); err != auth.ErrTokenMalformed {
			t.Errorf("%q for %q: got %v", wrong, secret, err)
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
		t.Errorf("the right one: %v", err)
	}
}

// token makes a token and empties the journal.
func (w *world) token(t testing.TB, owner auth.User, r auth.TokenRequest) string {
	t.Helper()
	secret, _, err := w.NewToken(t.Context(), owner, r)
	if err != nil {
		t.Fatal(err)
	}
	w.Reset()
	return secret
}

func TestNewToken(t *testing.T) {
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
		t.Errorf("the id for people is %q, want a UUIDv7", got.TokenID)
	}
	got.TokenID = ""
	want := auth.Token{
		Version: 1, ID: id, UserID: u.ID, Epoch: 7, Name: "Build server", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
		Permissions: []string{"books.read", "users.view"}, // sorted, each once
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if log := w.log.String(); strings.Contains(log, secret) || strings.Contains(log, id) || !strings.Contains(log, `msg="token created" event=true username=alice`) {
		t.Errorf("the log says %s", log)
	}
	// What was not said is the default; all permissions are not none.
	_, all, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x"})
	if err != nil || !all.ExpiresAt.Equal(noon.Add(72*time.Hour)) || all.Permissions != nil {
		t.Errorf("got %+v, %v", all, err)
	}
	_, none, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Permissions: []string{}})
	if err != nil || none.Permissions == nil || len(none.Permissions) != 0 {
		t.Errorf("got %+v, %v; want a token that may nothing", none, err)
	}
}

func TestNewTokenRefuses(t *testing.T) {
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
		"all of it": {auth.TokenRequest{Lifetime: 1, Permissions: []string{"a.b"}},
			auth.ValidationErrors{"name": noName, "lifetime": lifetime, "permissions": "You do not have the permission a.b yourself."}},
	} {
		t.Run(what, func(t *testing.T) {
			secret, token, err := w.NewToken(t.Context(), u, c.request)
			wantInvalid(t, err, c.want)
			if secret != "" || token.ID != "" {
				t.Errorf("got %q and %+v", secret, token)
			}
		})
	}
	wantCalls(t, w.Calls())
	for _, lives := range []time.Duration{time.Minute, year} {
		if _, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Lifetime: lives}); err != nil {
			t.Errorf("%s: %v", lives, err)
		}
	}
	// Who may change may look, so a token may as well.
	u.Permissions = []string{"users.manage"}
	if _, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Permissions: []string{"users.view"}}); err != nil {
		t.Error(err)
	}
	w.FailOn("tokens.Create", auth.ErrTooManyTokens)
	secret, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x"})
	if !errors.Is(err, auth.ErrTooManyTokens) || secret != "" {
		t.Errorf("got %q, %v", secret, err)
	}
	w.FailOn("tokens.Create", errDown)
	secret, _, err = w.NewToken(t.Context(), u, auth.TokenRequest{Name: "x"})
	if !errors.Is(err, auth.ErrUnavailable) || secret != "" {
		t.Errorf("got %q, %v", secret, err)
	}
}

func TestBearer(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	secret := w.token(t, u, auth.TokenRequest{Name: "CI"})
	id, _ := auth.TokenID(secret)
	got, token, err := w.AuthenticateToken(t.Context(), secret)
	if err != nil || got.ID != u.ID || token.ID != id || token.Name != "CI" {
		t.Fatalf("got %+v, %+v, %v", got, token, err)
	}
	w.Reset()
	if _, _, err := w.AuthenticateToken(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	// No SQL, no hash, and the use is noted without waiting.
	wantCalls(t, w.Calls(), "tokens.Find "+id, "cache.User "+u.ID, "tokens.Used "+token.TokenID)
	if rec, _ := w.Stores.Tokens.Record(id); !rec.LastUsed.Equal(noon) {
		t.Errorf("used at %s", rec.LastUsed)
	}
}

func TestBearerRefuses(t *testing.T) {
	for what, c := range map[string]struct {
		change func(t *testing.T, w *world, u auth.User, id string)
		want   error
	}{
		"unknown": {func(_ *testing.T, w *world, u auth.User, _ string) {
			_ = w.Stores.Tokens.RevokeAll(context.Background(), u.ID)
		}, auth.ErrTokenUnknown},
		"user is gone": {func(_ *testing.T, w *world, _ auth.User, id string) {
			rec, _ := w.Stores.Tokens.Record(id)
			rec.UserID = "somebody else"
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
		"from the future": {func(_ *testing.T, w *world, u auth.User, id string) {
			rec, _ := w.Stores.Tokens.Record(id)
			rec.Epoch++
			w.Stores.Tokens.Put(id, rec)
		}, auth.ErrTokenInvalidated},
		"tokens away": {func(_ *testing.T, w *world, _ auth.User, _ string) { w.FailOn("tokens.", errDown) }, auth.ErrUnavailable},
		"database away": {func(_ *testing.T, w *world, _ auth.User, _ string) {
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
			if got.ID != "" || token.ID != "" || len(w.Calls("tokens.Used")) != 0 {
				t.Errorf("got %+v, %+v after %v", got, token, w.Calls())
			}
			for _, other := range []error{auth.ErrTokenUnknown, auth.ErrTokenInvalidated, auth.ErrTokenMalformed, auth.ErrUserDisabled, auth.ErrUnavailable} {
				if other != c.want && errors.Is(err, other) {
					t.Errorf("it is %v as well", other)
				}
			}
		})
	}
}

func TestNarrow(t *testing.T) {
	owned := []string{"books.read", "books.write"}
	for what, c := range map[string]struct {
		token, owned, want []string
	}{
		"not narrowed":               {nil, owned, owned},
		"to nothing":                 {[]string{}, owned, []string{}},
		"to one":                     {[]string{"books.read"}, owned, []string{"books.read"}},
		"the owner lost one":         {[]string{"books.read", "users.view"}, owned, []string{"books.read"}},
		"the owner lost all":         {[]string{"books.read"}, nil, []string{}},
		"not narrowed, owner's none": {nil, nil, nil},
		"looking only":               {[]string{"users.view"}, []string{"users.manage"}, []string{"users.view"}},
		"changing is not looking":    {[]string{"users.manage"}, []string{"users.view"}, []string{}},
	} {
		token := auth.Token{Permissions: slices.Clone(c.token)}
		if got := token.EffectivePermissions(c.owned); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		if !slices.Equal(token.Permissions, c.token) {
			t.Errorf("%s: the token itself became %q", what, token.Permissions)
		}
	}
}

func TestTokenValid(t *testing.T) {
	good := auth.Token{Version: 1, ID: "a", UserID: "u", ExpiresAt: noon}
	for what, c := range map[string]struct {
		change func(*auth.Token)
		now    time.Time
		want   bool
	}{
		"good":            {func(*auth.Token) {}, noon.Add(-1), true},
		"expired":         {func(*auth.Token) {}, noon, false},
		"other version":   {func(t *auth.Token) { t.Version = 2 }, noon.Add(-1), false},
		"another's reply": {func(t *auth.Token) { t.ID = "b" }, noon.Add(-1), false},
		"nobody's":        {func(t *auth.Token) { t.UserID = "" }, noon.Add(-1), false},
	} {
		token := good
		c.change(&token)
		if got := token.Valid("a", c.now); got != c.want {
			t.Errorf("%s: got %v", what, got)
		}
	}
}

func TestRevokeToken(t *testing.T) {
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
		t.Fatalf("revoked by somebody else: %v", err)
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
		t.Errorf("bob's is gone as well: %v", err)
	}
	w.FailOn("tokens.", errDown)
	wantError(t, w.RevokeToken(t.Context(), bob, "x"), auth.ErrUnavailable)
	wantError(t, w.RevokeAllTokens(t.Context(), bob), auth.ErrUnavailable)
	if log := w.log.String(); strings.Count(log, "token revoked") != 1 || strings.Count(log, "all tokens revoked") != 1 {
		t.Errorf("the log says %s", log)
	}
}

// TestLimitedToken_ActsWithoutGroups: nobody who asks about the user of a limited token is told
// of groups or permissions that the token does not have.
func TestLimitedToken_ActsWithoutGroups(t *testing.T) {
	owner := auth.User{ID: "u", Groups: []string{"admin", "staff"}, Permissions: []string{"books.read", "users.manage"}}
	for name, c := range map[string]struct{ limit, permissions, groups []string }{
		"unlimited": {nil, owner.Permissions, owner.Groups},
		"none":      {[]string{}, nil, nil},
		"one":       {[]string{"books.read"}, []string{"books.read"}, nil},
		"implied":   {[]string{"users.view"}, []string{"users.view"}, nil},
		"lost":      {[]string{"reports.view"}, nil, nil},
	} {
		token := auth.Token{Permissions: c.limit}
		got := token.Restrict(owner)
		if !slices.Equal(got.Permissions, c.permissions) || !slices.Equal(got.Groups, c.groups) || got.ID != "u" {
			t.Errorf("%s: acts as %+v", name, got)
		}
	}
	if len(owner.Groups) != 2 || len(owner.Permissions) != 2 {
		t.Errorf("the owner was changed: %+v", owner)
	}
}
