package web

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"gatehouse/auth"
)

// newForwardAuthSession returns a site like newForwardAuthSite and the session of a user with one permission, books.read, and one group,
// staff.
func newForwardAuthSession(t *testing.T, change ...func(*site)) (*site, func(*http.Request)) {
	t.Helper()
	s := newForwardAuthSite(t, change...)
	token := s.signedIn(t, "u1")
	s.Stores.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true, Groups: []string{"staff"}, Permissions: []string{"books.read"}})
	s.Server.Accounts.InvalidateUser("u1")
	return s, s.session(token)
}

// TestForwardAuth_EnforcesRequirementsInEverySpelling: an unmet requirement never results in a 200, however the path is
// spelled.
func TestForwardAuth_EnforcesRequirementsInEverySpelling(t *testing.T) {
	s, session := newForwardAuthSession(t)
	for _, path := range []string{
		"/auth/verify", "/auth/verify/", "/auth/verify//", "/auth/verify/;", "/auth/verify;", "/auth/verify;a=b", "/auth/verify/;a=b", "/auth/verify/.", "/auth/verify/./", "/auth/verify/..", "/auth/verify/x/..",
		"/auth/verify%2f", "/auth/verify%2F", "/auth/verify/%2f", "/auth/verify%5c", "/auth/verify/%5c", `/auth/verify/\`, "/auth/verify%20", "/auth/verify/%20", "/auth/verify%00", "/auth/verify/%00",
		"/auth%2fverify", "/auth/%76erify", "/%61uth/verify/", "/auth/verify%2f%2f", "/auth/verify/%2e", "/auth/verify/%252f", "//auth/verify", "/auth//verify", "/./auth/verify", "/x/../auth/verify",
		"/AUTH/verify", "/auth/Verify", "/auth/verify/verify", "/auth/verify/auth/verify", "/auth/verify#", "/auth/verify/#", "/auth/verify/page", "/auth/verify/ext-authz;", "/auth/verify/ext%2dauthz/",
		"/auth/verify/%65xt-authz/", "/auth/verify//ext-authz/", "/auth/verify%2fext-authz/",
	} {
		for _, query := range []string{
			"?permission=books.write", "?group=admin", "?x=y&permission=books.write", "?%70ermission=books.write", "?PERMISSION=books.write", "?permission=books.read&permission=books.write",
			"?permission=books.read;permission=books.write", "?;permission=books.write", "%3fpermission=books.write", "%3Fgroup=admin", ";permission=books.write", "/permission=books.write", "&group=admin", "?permission", "?group", "?%zz",
		} {
			req := path + query
			target, ok := readTarget(req)
			if !ok {
				continue
			}
			if w := s.do("GET", "/", session, target); w.Code < 400 || w.Code >= 500 || w.Header().Get("Remote-User") != "" {
				t.Errorf("%s: %d %v", req, w.Code, w.Header())
			}
		}
	}
	for req, want := range map[string]int{
		"/auth/verify?permission=books.read": 200, "/auth/verify?permission=books.write": 403, "/auth/verify/?permission=books.read": 400, "/auth/verify/;?x": 400, "/auth/verify/?permision=books.write": 400,
		// Envoy appends what the visitor sent.
		"/auth/verify/ext-authz?permission=books.write": 400, "/auth/verify/ext-authz": 400, "/auth/verify/ext-authz/?permission=books.write": 200, "/auth/verify/ext-authz/a//b%2f;?group=admin": 200,
		"/auth/verify/": 200, "/auth/verify/some/page": 200, "/auth/verify/some/page?x=y": 200, "/auth/verify/groups/staff": 200,
	} {
		target, ok := readTarget(req)
		if !ok {
			t.Fatalf("net/http does not read %s", req)
		}
		if w := s.do("GET", "/", session, target); w.Code != want {
			t.Errorf("%s: %d, want %d", req, w.Code, want)
		}
	}
}

// readTarget returns a change that gives a request the URL that net/http parses from the raw target, and false where
// net/http itself answers 400.
func readTarget(raw string) (func(*http.Request), bool) {
	parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + raw + " HTTP/1.1\r\nHost: login.example.org\r\n\r\n")))
	if err != nil {
		return nil, false
	}
	return func(r *http.Request) { r.URL, r.RequestURI = parsed.URL, parsed.RequestURI }, true
}

// TestForwardAuth_RefusesUnknownRequirementHeaders: a misspelled header would leave a site open to all users.
func TestForwardAuth_RefusesUnknownRequirementHeaders(t *testing.T) {
	s, session := newForwardAuthSession(t)
	for name, want := range map[string]int{
		"X-Gatehouse-Permission": 200, "x-gatehouse-permission": 200,
		"X-Gatehouse-Permissions": 400, "X-Gatehouse-Permision": 400, "X_Gatehouse_Permission": 400, "X-Gatehouse_Permission": 400, "X-Gatehouse.Permission": 400, "X-Gatehouse": 200, "X-Gatehouse-": 400, "X-Gatehouse-User": 400,
		"X-Gateway": 200, "X": 200, "Gatehouse-Permission": 200,
	} {
		if w := s.do("GET", "/auth/verify", session, header(name, "books.read")); w.Code != want {
			t.Errorf("%s: %d, want %d", name, w.Code, want)
		}
	}
}
