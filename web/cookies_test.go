package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
)

// fakeToken returns a value with the form of a session token.
func fakeToken(letter string) string { return strings.Repeat(letter, auth.HashLength) }

// sameName joins cookies of one name as a browser sends them.
func (s *site) sameName(values ...string) func(*http.Request) {
	var pairs []string
	for _, v := range values {
		pairs = append(pairs, s.Cookies.SessionName()+"="+v)
	}
	return header("Cookie", strings.Join(pairs, "; "))
}

// TestSessionCookies_FirstLiveOneCounts: a sibling site, or a script on another path, can add
// a cookie of the session's name in front of the real one.
func TestSessionCookies_FirstLiveOneCounts(t *testing.T) {
	dead := []string{fakeToken("D"), fakeToken("E"), fakeToken("F"), fakeToken("G")}
	live, other := fakeToken("L"), fakeToken("M")
	for name, c := range map[string]struct {
		cookies func(*site) func(*http.Request)
		want    string
	}{
		"the live one alone":        {func(s *site) func(*http.Request) { return s.sameName(live) }, "u1"},
		"behind a dead one":         {func(s *site) func(*http.Request) { return s.sameName(dead[0], live) }, "u1"},
		"before a dead one":         {func(s *site) func(*http.Request) { return s.sameName(live, dead[0]) }, "u1"},
		"in another header":         {func(s *site) func(*http.Request) { return combine(s.sameName(dead[0]), s.sameName(live)) }, "u1"},
		"the fourth":                {func(s *site) func(*http.Request) { return s.sameName(dead[0], dead[1], dead[2], live) }, "u1"},
		"the fifth":                 {func(s *site) func(*http.Request) { return s.sameName(dead[0], dead[1], dead[2], dead[3], live) }, "anonymous"},
		"behind malformed values":   {func(s *site) func(*http.Request) { return s.sameName("1", "2", "3", "4", "", live) }, "u1"},
		"of two live ones":          {func(s *site) func(*http.Request) { return s.sameName(other, live) }, "u2"},
		"of two live ones, swapped": {func(s *site) func(*http.Request) { return s.sameName(live, other) }, "u1"},
		"behind one of old epoch":   {func(s *site) func(*http.Request) { return s.sameName(fakeToken("O"), live) }, "u1"},
		"behind one past deadline":  {func(s *site) func(*http.Request) { return s.sameName(fakeToken("P"), live) }, "u1"},
		"behind one of no user":     {func(s *site) func(*http.Request) { return s.sameName(fakeToken("Q"), live) }, "u1"},
		"only dead ones":            {func(s *site) func(*http.Request) { return s.sameName(dead...) }, "anonymous"},
	} {
		s := newSite(t, forwardAuthRoutes)
		s.add("u1")
		s.add("u2")
		lasting := func(change func(*auth.Session)) func(*auth.Session) {
			return func(rec *auth.Session) { rec.Deadline = noon.Add(24 * time.Hour); change(rec) }
		}
		s.put(live, lasting(func(*auth.Session) {}))
		s.put(other, lasting(func(rec *auth.Session) { rec.UserID = "u2" }))
		s.put(fakeToken("O"), lasting(func(rec *auth.Session) { rec.Epoch = 7 }))
		s.put(fakeToken("P"), func(rec *auth.Session) { rec.Deadline = noon })
		s.put(fakeToken("Q"), lasting(func(rec *auth.Session) { rec.UserID = "u9" }))
		s.Reset()
		w := s.do("GET", "/", c.cookies(s))
		if got := w.Body.String(); got != c.want || len(w.Header()["Set-Cookie"]) != 0 {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		if asked := len(s.Calls("sessions.")); asked != 1 {
			t.Errorf("%s: got %d round trips to the session store, want 1: %q", name, asked, s.Calls("sessions."))
		}
		if w := s.do("GET", "/auth/verify", c.cookies(s)); (w.Code == http.StatusOK) != (c.want != "anonymous") {
			t.Errorf("%s: forward auth: got %d", name, w.Code)
		}
	}
}

// TestSignOut_EndsEverySessionOfTheName: sign-out ends the session of every cookie, even those beyond maxSessionCookies. A
// cookie for the path of sign-out alone must not shield the one for all paths.
func TestSignOut_EndsEverySessionOfTheName(t *testing.T) {
	signOut := Post("/sign-out", Open, func(r *Request) (Response, error) { return SeeOther("/"), r.SignOut() })
	for name, n := range map[string]int{"two": 2, "more than the limit": maxSessionCookies + 3} {
		for _, route := range []string{"/sign-out", "/sign-in?user=u1"} {
			s := newSite(t, append(userRoutes, signOut))
			s.add("u1")
			var values []string
			for i := range n {
				values = append(values, fakeToken("x"), fakeToken(string(rune('A'+i))))
				s.put(values[len(values)-1], func(rec *auth.Session) { rec.Deadline = noon.Add(24 * time.Hour) })
			}
			w := s.do("POST", route, s.sameName(values...))
			if w.Code != http.StatusSeeOther || len(setCookies(w)) == 0 {
				t.Fatalf("%s, %s: got %d, %q", name, route, w.Code, w.Header()["Set-Cookie"])
			}
			for _, v := range values {
				if _, ok := s.Stores.Sessions.Record(auth.SessionID(v)); ok {
					t.Errorf("%s, %s: a session still exists", name, route)
				}
			}
		}
	}
}
