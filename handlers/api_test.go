package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
	"gatehouse/internal/reqstats"
)

// client is a program that sends the same Authorization header with every request.
type client struct {
	site          *site
	authorization string
}

func (s *site) basic(name string) client {
	req := newRequest("GET", "/")
	req.SetBasicAuth(name, secret)
	return client{s, req.Header.Get("Authorization")}
}

func (s *site) bearer(token string) client { return client{s, "Bearer " + token} }

func (s *site) anonymous() client { return client{site: s} }

func (c client) do(method, target, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.authorization != "" {
		req.Header.Set("Authorization", c.authorization)
	}
	w := httptest.NewRecorder()
	c.site.server.ServeHTTP(w, req)
	return w
}

// wantJSON checks the status and returns the JSON body.
func wantJSON(t testing.TB, w *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	m := map[string]any{}
	kind := w.Header().Get("Content-Type")
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != status || len(w.Header()["Set-Cookie"]) != 0 || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %s %v, %v; want %d", w.Code, w.Body, w.Header(), err, status)
	}
	if want := map[bool]string{true: "application/json", false: "application/problem+json"}[status < 400]; kind != want {
		t.Errorf("got %s, want %s", kind, want)
	}
	return m
}

func wantCode(t testing.TB, w *httptest.ResponseRecorder, status int, code string) map[string]any {
	t.Helper()
	m := wantJSON(t, w, status)
	if m["code"] != code {
		t.Errorf("got %v, want the code %s", m, code)
	}
	return m
}

func wantFields(t testing.TB, m map[string]any, names ...string) {
	t.Helper()
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(m)); !slices.Equal(got, names) {
		t.Errorf("got the fields %q, want %q", got, names)
	}
}

// countingStore is a user store whose lookups count as SQL queries of the request.
type countingStore struct{ auth.UserStore }

func (c countingStore) UserByUsername(ctx context.Context, name string) (auth.User, error) {
	reqstats.FromContext(ctx).AddSQL(time.Millisecond)
	return c.UserStore.UserByUsername(ctx, name)
}

func (c countingStore) UserByID(ctx context.Context, id string) (auth.User, error) {
	reqstats.FromContext(ctx).AddSQL(time.Millisecond)
	return c.UserStore.UserByID(ctx, id)
}

func TestAPITime_NamesUserAndAuthority(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	u.Name, u.TimeZone = "Alice <A>", "Europe/Berlin"
	s.Stores.Users.Put(u)
	s.Handlers.Accounts.Users = countingStore{s.Handlers.Accounts.Users}
	token := wantJSON(t, s.basic("alice").do("POST", "/api/tokens", ""), http.StatusCreated)["token"].(string)
	s.Stores.Cache.DropAll(t.Context())
	s.Stores.Credentials.Flush()
	for _, c := range []struct {
		what string
		by   client
		want string
	}{
		{"uncached Basic", s.basic("alice"), "sqlite"}, {"first use", s.bearer(token), "sqlite"},
		{"cached Basic", s.basic("alice"), "redis"}, {"token", s.bearer(token), "redis"},
	} {
		m := wantJSON(t, c.by.do("GET", "/api/time", ""), http.StatusOK)
		wantFields(t, m, "time", "timezone", "user", "authorized_by")
		at, err := time.Parse(time.RFC3339Nano, m["time"].(string))
		if err != nil || time.Since(at).Abs() > time.Minute || !strings.HasSuffix(m["time"].(string), "Z") {
			t.Errorf("%s: got the time %v", c.what, m["time"])
		}
		if user := m["user"].(map[string]any); len(user) != 3 || user["id"] != u.ID || user["username"] != "alice" || user["name"] != "Alice <A>" {
			t.Errorf("%s: got the user %v", c.what, user)
		}
		if m["authorized_by"] != c.want || m["timezone"] != "Europe/Berlin" {
			t.Errorf("%s: got %v, want %s", c.what, m, c.want)
		}
	}
	b := s.signedIn(t, "alice")
	if m := wantJSON(t, b.get("/api/time"), http.StatusOK); m["user"].(map[string]any)["id"] != u.ID {
		t.Errorf("by session: got %v", m)
	}
}

func TestAPIMe_ReportsPermissionsAndMethod(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	s.addAdmin(t, "root")
	m := wantJSON(t, s.basic("alice").do("GET", "/api/me", ""), http.StatusOK)
	wantFields(t, m, "user", "groups", "permissions", "preferences", "method", "authorized_by")
	if fmt.Sprintf("%v %v %v", m["groups"], m["permissions"], m["method"]) != "[] [] basic" {
		t.Errorf("got %v", m)
	}
	if m := wantJSON(t, s.signedIn(t, "root").get("/api/me"), http.StatusOK); fmt.Sprintf("%v %v %v", m["groups"], m["permissions"], m["method"]) != "[admin] [users.manage users.view] session" {
		t.Errorf("got %v", m)
	}
	// For a token, the response has the token's permissions.
	token := wantJSON(t, s.basic("root").do("POST", "/api/tokens", `{"permissions":["users.view"]}`), http.StatusCreated)["token"].(string)
	if m := wantJSON(t, s.bearer(token).do("GET", "/api/me", ""), http.StatusOK); fmt.Sprintf("%v %v", m["permissions"], m["method"]) != "[users.view] token" {
		t.Errorf("got %v", m)
	}
}

// TestAPIMe_LimitedTokenHasNoGroups: apps may grant permissions by group, which a limited token must not get.
func TestAPIMe_LimitedTokenHasNoGroups(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	for body, want := range map[string]string{
		`{}`:                               "[admin] [users.manage users.view]",
		`{"permissions":["users.manage"]}`: "[] [users.manage]",
		`{"permissions":[]}`:               "[] []",
	} {
		token := wantJSON(t, s.basic("root").do("POST", "/api/tokens", body), http.StatusCreated)["token"].(string)
		m := wantJSON(t, s.bearer(token).do("GET", "/api/me", ""), http.StatusOK)
		if got := fmt.Sprintf("%v %v", m["groups"], m["permissions"]); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestAPITokens_CreateListAndRevoke(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	s.add(t, "bob")
	alice, bob := s.basic("alice"), s.basic("bob")
	made := wantJSON(t, alice.do("POST", "/api/tokens", `{"name":" Build  server ","expires_in":3600}`), http.StatusCreated)
	wantFields(t, made, "id", "token", "name", "hint", "created_at", "expires_at", "last_used_at", "permissions")
	token, id := made["token"].(string), made["id"].(string)
	if _, err := auth.TokenID(token); err != nil || made["name"] != "Build server" || made["last_used_at"] != nil || made["permissions"] != nil {
		t.Errorf("got %v, %v", made, err)
	}
	created, _ := time.Parse(time.RFC3339, made["created_at"].(string))
	if expires, err := time.Parse(time.RFC3339, made["expires_at"].(string)); err != nil || expires.Sub(created) != time.Hour {
		t.Errorf("got %v", made)
	}
	if m := wantJSON(t, s.bearer(token).do("GET", "/api/me", ""), http.StatusOK); m["method"] != "token" {
		t.Errorf("got %v", m)
	}
	// The secret is shown once: the list does not contain it.
	list := alice.do("GET", "/api/tokens", "")
	rows := wantJSON(t, list, http.StatusOK)["tokens"].([]any)
	if len(rows) != 1 || strings.Contains(list.Body.String(), token) {
		t.Fatalf("got %s", list.Body)
	}
	row := rows[0].(map[string]any)
	wantFields(t, row, "id", "name", "hint", "created_at", "expires_at", "last_used_at", "permissions")
	if row["id"] != id || row["last_used_at"] == nil {
		t.Errorf("got %v", row)
	}
	if log := s.log.String(); strings.Contains(log, token) || strings.Contains(log, secret) {
		t.Errorf("the log holds a secret: %s", log)
	}
	// Users can neither see nor revoke the tokens of other users.
	if rows := wantJSON(t, bob.do("GET", "/api/tokens", ""), http.StatusOK)["tokens"].([]any); len(rows) != 0 {
		t.Errorf("bob has %v", rows)
	}
	wantCode(t, bob.do("DELETE", "/api/tokens/"+id, ""), http.StatusNotFound, "not_found")
	wantCode(t, alice.do("DELETE", "/api/tokens/"+token, ""), http.StatusNotFound, "not_found")
	wantCode(t, alice.do("DELETE", "/api/tokens/current", ""), http.StatusBadRequest, "no_current_token")
	if w := alice.do("DELETE", "/api/tokens/"+id, ""); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	wantCode(t, s.bearer(token).do("GET", "/api/me", ""), http.StatusUnauthorized, "token_unknown")
	wantCode(t, alice.do("DELETE", "/api/tokens/"+id, ""), http.StatusNotFound, "not_found")
	// A token can revoke itself, but cannot create another token.
	token = wantJSON(t, alice.do("POST", "/api/tokens", ""), http.StatusCreated)["token"].(string)
	wantCode(t, s.bearer(token).do("POST", "/api/tokens", `{"name":"x"}`), http.StatusBadRequest, "token_from_token")
	wantCode(t, s.bearer(token).do("POST", "/api/tokens", `{"username":"alice","password":"`+secret+`"}`), http.StatusBadRequest, "token_from_token")
	if s.Stores.Tokens.Len() != 1 {
		t.Errorf("got %d tokens", s.Stores.Tokens.Len())
	}
	if w := s.bearer(token).do("DELETE", "/api/tokens/current", ""); w.Code != http.StatusNoContent || s.Stores.Tokens.Len() != 0 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	// Tokens that a change of the account has invalidated are not listed.
	_ = wantJSON(t, alice.do("POST", "/api/tokens", ""), http.StatusCreated)
	u, _ := s.Stores.Users.UserByUsername(t.Context(), "alice")
	if _, err := s.Handlers.Accounts.SignOutEverywhere(t.Context(), u.ID, ""); err != nil {
		t.Fatal(err)
	}
	if rows := wantJSON(t, alice.do("GET", "/api/tokens", ""), http.StatusOK)["tokens"].([]any); len(rows) != 0 {
		t.Errorf("got %v", rows)
	}
}

// TestAPITokens_AcceptPasswordInBody: a client without Basic or a session can send username and password in the body.
func TestAPITokens_ShowHint(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	token, rec, err := s.Handlers.Accounts.NewToken(t.Context(), u, auth.TokenRequest{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	hint := func() any {
		t.Helper()
		rows := wantJSON(t, s.basic("alice").do("GET", "/api/tokens", ""), http.StatusOK)["tokens"].([]any)
		return rows[0].(map[string]any)["hint"]
	}
	if got := hint(); got != auth.TokenHint(token) {
		t.Errorf("got the hint %v, want %q", got, auth.TokenHint(token))
	}
	rec.Hint = "" // created before hints were stored
	s.Stores.Tokens.Put(rec.ID, rec)
	if got := hint(); got != nil {
		t.Errorf("got the hint %v for a token without one, want null", got)
	}
	w := s.signedIn(t, "alice").get("/account/tokens")
	wantPage(t, w, http.StatusOK, "<bdi>x</bdi>")
	if strings.Contains(w.Body.String(), auth.TokenPrefix) {
		t.Errorf("the page shows a hint of a token without one: %s", w.Body)
	}
}

func TestAPITokens_AcceptPasswordInBody(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	anonymous := s.anonymous()
	made := wantJSON(t, anonymous.do("POST", "/api/tokens", `{"username":"Alice","password":"`+secret+`"}`), http.StatusCreated)
	if m := wantJSON(t, s.bearer(made["token"].(string)).do("GET", "/api/me", ""), http.StatusOK); m["user"].(map[string]any)["id"] != u.ID || made["name"] != "API" {
		t.Errorf("got %v, %v", m, made)
	}
	for what, body := range map[string]string{"nothing": "", "empty": "{}", "no password": `{"username":"alice"}`, "no name": `{"password":"x"}`} {
		w := anonymous.do("POST", "/api/tokens", body)
		wantCode(t, w, http.StatusUnauthorized, "credentials_needed")
		if len(w.Header()["Www-Authenticate"]) != 2 {
			t.Errorf("%s: got the challenges %q", what, w.Header()["Www-Authenticate"])
		}
	}
	wantCode(t, anonymous.do("POST", "/api/tokens", `{"username":"alice","password":"wrong"}`), http.StatusUnauthorized, "wrong_credentials")
	wantCode(t, anonymous.do("POST", "/api/tokens", `{"username":"nobody","password":"wrong"}`), http.StatusUnauthorized, "wrong_credentials")
	// The network is trusted since the first successful sign-in.
	if got := s.Stores.Throttle.Count("networks:" + u.ID); got != 1 {
		t.Errorf("got %d counted guesses for alice, want 1", got)
	}
	if got := s.Stores.Throttle.Count(authtest.AccountKey("nobody")); got != 1 {
		t.Errorf("got %d counted guesses for the unknown name, want 1", got)
	}
	for i := range 9 {
		anonymous.do("POST", "/api/tokens", fmt.Sprintf(`{"username":"alice","password":"wrong-%d"}`, i))
	}
	w := anonymous.do("POST", "/api/tokens", `{"username":"alice","password":"`+secret+`"}`)
	wantCode(t, w, http.StatusTooManyRequests, "throttled")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	wantCode(t, s.basic("alice").do("GET", "/api/me", ""), http.StatusTooManyRequests, "throttled")
	if s.Stores.Tokens.Len() != 1 {
		t.Errorf("got %d tokens", s.Stores.Tokens.Len())
	}
	s.FailOn("throttle.", errDown)
	wantCode(t, anonymous.do("POST", "/api/tokens", `{"username":"alice","password":"`+secret+`"}`), http.StatusServiceUnavailable, "unavailable")
}

func TestAPITokens_RejectInvalidRequests(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	alice := s.basic("alice")
	for what, c := range map[string]struct {
		body   string
		fields []string
	}{
		"too short": {`{"expires_in":59}`, []string{"expires_in"}}, "negative": {`{"expires_in":-1}`, []string{"expires_in"}},
		"too long": {`{"expires_in":31622401}`, []string{"expires_in"}}, "endless": {`{"expires_in":9223372036854775807}`, []string{"expires_in"}},
		"most negative": {`{"expires_in":-9223372036854775808}`, []string{"expires_in"}},
		"not owned":     {`{"permissions":["users.view"]}`, []string{"permissions"}}, "strange name": {`{"name":"a\u0000"}`, []string{"name"}},
		"all of it": {`{"name":"a\u0000","expires_in":1,"permissions":["users.view"]}`, []string{"expires_in", "name", "permissions"}},
	} {
		t.Run(what, func(t *testing.T) {
			m := wantCode(t, alice.do("POST", "/api/tokens", c.body), http.StatusUnprocessableEntity, "invalid")
			wantFields(t, m["errors"].(map[string]any), c.fields...)
		})
	}
	for _, body := range []string{"x", `{"name":1}`, `{"expires_in":"1"}`, `{"expires_in":1.5}`, `[]`, `{}{}`} {
		wantCode(t, alice.do("POST", "/api/tokens", body), http.StatusBadRequest, "malformed_json")
	}
	s.FailOn("tokens.Create", auth.ErrTooManyTokens)
	wantCode(t, alice.do("POST", "/api/tokens", ""), http.StatusUnprocessableEntity, "too_many_tokens")
	s.FailOn("tokens.Create", nil)
	s.FailOn("tokens.", errDown)
	for method, path := range map[string]string{"GET": "/api/tokens", "DELETE": "/api/tokens/x", "POST": "/api/tokens"} {
		wantCode(t, alice.do(method, path, ""), http.StatusServiceUnavailable, "unavailable")
	}
	if s.Stores.Tokens.Len() != 0 {
		t.Errorf("got %d tokens", s.Stores.Tokens.Len())
	}
}

func TestAPIUsers_SearchesAndPages(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	for i := range 60 {
		u := auth.User{ID: fmt.Sprint(i), Username: fmt.Sprintf("user%02d", i), Email: "u@example.org", Active: i%2 == 0, PasswordHash: "hunter2"}
		if i == 0 {
			u.LastSignInAt = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
		}
		s.Stores.Users.Put(u)
	}
	root := s.basic("root")
	get := func(query string) (names []string, next string) {
		t.Helper()
		w := root.do("GET", "/api/users"+query, "")
		m := wantJSON(t, w, http.StatusOK)
		wantFields(t, m, "users", "next")
		for _, row := range m["users"].([]any) {
			row := row.(map[string]any)
			wantFields(t, row, "id", "username", "name", "email", "active", "groups", "permissions", "created_at", "last_sign_in_at")
			if (row["last_sign_in_at"] != nil) != (row["username"] == "user00") {
				t.Errorf("got %v", row)
			}
			names = append(names, row["username"].(string))
		}
		if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "argon2") {
			t.Errorf("the response contains a hash: %s", w.Body)
		}
		return names, m["next"].(string)
	}
	if names, next := get(""); len(names) != 50 || next != names[49] {
		t.Errorf("got %d, next %q", len(names), next)
	}
	if names, next := get("?limit=200"); len(names) != 61 || next != "" {
		t.Errorf("got %d, next %q", len(names), next)
	}
	var all []string
	for after := ""; ; {
		names, next := get("?limit=7&after=" + after)
		all = append(all, names...)
		if after = next; next == "" {
			break
		}
	}
	if len(all) != 61 || !slices.IsSorted(all) {
		t.Errorf("got the users %q from all pages", all)
	}
	if names, next := get("?limit=61"); len(names) != 61 || next != "" {
		t.Errorf("limit 61 of 61: got %d, next %q", len(names), next)
	}
	if names, _ := get("?q=USER5"); len(names) != 10 {
		t.Errorf("got %q", names)
	}
	if names, _ := get("?q=nobody"); len(names) != 0 {
		t.Errorf("got %q", names)
	}
	for _, limit := range []string{"0", "-1", "201", "x", "1.5", "99999999999999999999"} {
		wantCode(t, root.do("GET", "/api/users?limit="+limit, ""), http.StatusBadRequest, "bad_limit")
	}
	s.add(t, "alice")
	m := wantCode(t, s.basic("alice").do("GET", "/api/users", ""), http.StatusForbidden, "missing_permission")
	if !strings.Contains(m["detail"].(string), "users.view") {
		t.Errorf("got %v", m)
	}
	s.FailOn("users.FindUsers", errDown)
	wantCode(t, root.do("GET", "/api/users", ""), http.StatusServiceUnavailable, "unavailable")
}

func TestOpenAPI_ServesDocument(t *testing.T) {
	s := newSite(t)
	s.Handlers.OpenAPI = []byte(`{"openapi":"3.1.0"}`)
	w := s.anonymous().do("GET", "/api/openapi.json", "")
	if w.Code != http.StatusOK || w.Body.String() != `{"openapi":"3.1.0"}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s %v", w.Code, w.Body, w.Header())
	}
}
