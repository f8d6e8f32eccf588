package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/web/sessions"
)

func TestSignIn_StartsSession(t *testing.T) {
	s := newSite(t, userRoutes)
	s.add("u1")
	w := s.do("POST", "/sign-in?user=u1", header("User-Agent", "Agent\xff"+strings.Repeat("x", 300)))
	if got := len(w.Header()["Set-Cookie"]); got != 2 {
		t.Fatalf("got %d cookies, want 1: %q", got, w.Header()["Set-Cookie"])
	}
	c := setCookies(w)["gatehouse"]
	if !sessions.IsToken(c.Value) || c.MaxAge != 0 || !c.Expires.IsZero() {
		t.Errorf("got the cookie %s", c)
	}
	rec, ok := s.Stores.Sessions.Record(auth.SessionID(c.Value))
	if !ok || s.Stores.Sessions.Len() != 1 {
		t.Fatalf("got %d sessions, want one under the cookie's hash", s.Stores.Sessions.Len())
	}
	if !rec.Valid(auth.SessionID(c.Value), noon) || rec.UserID != "u1" || rec.Epoch != 1 || !rec.Deadline.Equal(noon.Add(24*time.Hour)) ||
		rec.IdleSeconds != 7200 || rec.Remember || rec.Address != "192.0.2.1" || len(rec.UserAgent) != 256 || strings.Join(rec.Methods, " ") != "pwd" ||
		!rec.CreatedAt.Equal(noon) || !rec.SignedInAt.Equal(noon) {
		t.Errorf("got the session %+v", rec)
	}
	if got := s.do("GET", "/private", s.session(c.Value)); got.Body.String() != "u1" || len(got.Header()["Set-Cookie"]) != 0 {
		t.Errorf("got %q, %v", got.Body, got.Header())
	}

	w = s.do("POST", "/sign-in?user=u1&remember=1")
	c = setCookies(w)["gatehouse"]
	rec, _ = s.Stores.Sessions.Record(auth.SessionID(c.Value))
	if c.MaxAge != 720*3600 || !rec.Remember || !rec.Deadline.Equal(noon.Add(720*time.Hour)) || rec.Idle() != 336*time.Hour {
		t.Errorf("got the cookie %s and the session %+v", c, rec)
	}
}

func TestSignIn_EndsPreviousSession(t *testing.T) {
	s := newSite(t, userRoutes)
	old := s.signedIn(t, "u1")
	w := s.do("POST", "/sign-in?user=u1", s.session(old))
	fresh := setCookies(w)["gatehouse"].Value
	if fresh == old || s.Stores.Sessions.Len() != 1 {
		t.Errorf("got %d sessions, want 1; cookie changed: %v", s.Stores.Sessions.Len(), fresh != old)
	}
	if got := s.do("GET", "/", s.session(old)).Body.String(); got != "anonymous" {
		t.Errorf("the old cookie: got %s", got)
	}
	// A value that the server did not issue is never adopted.
	planted := fakeToken("A")
	w = s.do("POST", "/sign-in?user=u1", s.session(planted))
	if got := setCookies(w)["gatehouse"].Value; got == planted {
		t.Error("a planted cookie was adopted")
	}
	if _, ok := s.Stores.Sessions.Record(auth.SessionID(planted)); ok {
		t.Error("a planted cookie has a session")
	}
}

func TestAnonymousRequests_StoreNothing(t *testing.T) {
	s := newSite(t, userRoutes)
	for name, change := range map[string]func(*http.Request){
		"no cookie": func(*http.Request) {}, "unknown": s.session(fakeToken("A")), "garbage": s.session("x"),
		"another name": cookie("gatehouse_other", fakeToken("A")),
	} {
		for _, path := range []string{"/", "/private", "/machine", "/nowhere"} {
			if w := s.do("GET", path, change); len(w.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%s, %s: sets %q", name, path, w.Header()["Set-Cookie"])
			}
		}
	}
	if s.Stores.Sessions.Len() != 0 || len(s.Calls("sessions.Commit", "sessions.Delete", "users.", "cache.")) != 0 {
		t.Errorf("the stores were called: %v", s.Calls())
	}
}

// put stores a session record under a token, as if another server had written it.
func (s *site) put(token string, change func(*auth.Session)) {
	rec := auth.Session{
		Version: 1, ID: auth.SessionID(token), UserID: "u1", Epoch: 1, CreatedAt: noon, SignedInAt: noon,
		Deadline: noon.Add(time.Hour), IdleSeconds: 7200,
	}
	change(&rec)
	b, err := json.Marshal(rec)
	if err != nil {
		panic(err)
	}
	s.Stores.Sessions.Put(auth.SessionID(token), b)
}

func TestSession_InvalidOnesAreIgnored(t *testing.T) {
	token := fakeToken("B")
	for name, c := range map[string]struct {
		change func(*auth.Session)
		user   func(*auth.User)
		want   string
	}{
		"good":            {func(*auth.Session) {}, func(*auth.User) {}, "u1"},
		"past deadline":   {func(s *auth.Session) { s.Deadline = noon }, func(*auth.User) {}, "anonymous"},
		"another session": {func(s *auth.Session) { s.ID = auth.SessionID("x") }, func(*auth.User) {}, "anonymous"},
		"another format":  {func(s *auth.Session) { s.Version = 2 }, func(*auth.User) {}, "anonymous"},
		"no such user":    {func(s *auth.Session) { s.UserID = "u9" }, func(*auth.User) {}, "anonymous"},
		"epoch raised":    {func(*auth.Session) {}, func(u *auth.User) { u.Epoch = 2 }, "anonymous"},
		"from the future": {func(s *auth.Session) { s.Epoch = 2 }, func(*auth.User) {}, "anonymous"},
		"disabled":        {func(*auth.Session) {}, func(u *auth.User) { u.Active = false }, "anonymous"},
	} {
		s := newSite(t, userRoutes)
		u := s.add("u1")
		c.user(&u)
		s.Stores.Users.Put(u)
		s.put(token, c.change)
		if got := s.do("GET", "/", s.session(token)).Body.String(); got != c.want {
			t.Errorf("%s: got %s", name, got)
		}
		w := s.do("GET", "/private", s.session(token))
		if c.want == "anonymous" && (w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login?next=%2Fprivate" || len(w.Header()["Set-Cookie"]) != 0) {
			t.Errorf("%s: got %d, %v", name, w.Code, w.Header())
		}
		if got := s.do("GET", "/machine", s.session(token)).Body.String(); got != "anonymous" {
			t.Errorf("%s: an unauthenticated route: got %s", name, got)
		}
	}
	s := newSite(t, userRoutes)
	s.add("u1")
	for _, garbage := range []string{"", "x", "{}", "null", "[]", `{"v":1}`, "\xff\x00"} {
		s.Stores.Sessions.Put(auth.SessionID(token), []byte(garbage))
		if w := s.do("GET", "/private", s.session(token)); w.Code != http.StatusSeeOther {
			t.Errorf("%q: got %d", garbage, w.Code)
		}
		if w := s.do("POST", "/sign-in?user=u1", s.session(token)); w.Code != http.StatusSeeOther || setCookies(w)["gatehouse"] == nil {
			t.Errorf("%q: sign-in: got %d", garbage, w.Code)
		}
	}
}

func TestSignInAddress_ReturnsToThePage(t *testing.T) {
	s := newSite(t, []Route{Get("/private", SignedIn, showUser), Post("/private", SignedIn, showUser)})
	for method, want := range map[string]string{"GET": "/login?next=%2Fprivate%3Fa%3Db", "HEAD": "/login?next=%2Fprivate%3Fa%3Db", "POST": "/login"} {
		if w := s.do(method, "/private?a=b"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
			t.Errorf("%s: got %d, %q", method, w.Code, w.Header().Get("Location"))
		}
	}
}

func TestIdleTime_IsRenewed(t *testing.T) {
	token := fakeToken("B")
	for ttl, want := range map[time.Duration]int{2 * time.Hour: 0, 109 * time.Minute: 0, 107 * time.Minute: 1, -1: 1} {
		s := newSite(t, userRoutes)
		s.Stores.Sessions.TTL = ttl
		s.add("u1")
		s.put(token, func(rec *auth.Session) { rec.Deadline = noon.Add(24 * time.Hour) })
		w := s.do("GET", "/private", s.session(token))
		if got := len(s.Calls("sessions.Renew")); got != want || len(s.Calls("sessions.Commit")) != 0 || len(w.Header()["Set-Cookie"]) != 0 {
			t.Errorf("with %s left: got %d renewals, %v, %v", ttl, got, s.Calls(), w.Header())
		}
	}
}

func TestRenewSession_IssuesNewToken(t *testing.T) {
	ended := errors.New("RenewSession was not called")
	routes := append(userRoutes, Post("/renew", SignedIn, func(r *Request) (Response, error) {
		u, err := r.server.Accounts.Users.RotateEpoch(r.ctx, r.User().ID)
		if err != nil {
			return Response{}, err
		}
		if r.Query("ended") != "" {
			_ = r.server.Accounts.Sessions.End(r.ctx, u.ID, r.Session().ID)
		}
		if r.Query("disabled") != "" {
			u.Active = false
		}
		if r.Query("raised") != "" {
			u.PreviousEpoch++ // another change came between
		}
		if ended = r.RenewSession(u); ended != nil {
			return SeeOther("/login"), r.SignOut()
		}
		return SeeOther("/"), nil
	}))
	s := newSite(t, routes)
	old := s.signedIn(t, "u1")
	before, _ := s.Stores.Sessions.Record(auth.SessionID(old))
	w := s.do("POST", "/renew", s.session(old))
	fresh := setCookies(w)["gatehouse"]
	if ended != nil || fresh == nil || fresh.Value == old || len(w.Header()["Set-Cookie"]) != 1 {
		t.Fatalf("got %v, %q", ended, w.Header()["Set-Cookie"])
	}
	after, ok := s.Stores.Sessions.Record(auth.SessionID(fresh.Value))
	if !ok || after.Epoch == before.Epoch || !after.Deadline.Equal(before.Deadline) || !after.CreatedAt.Equal(before.CreatedAt) || s.Stores.Sessions.Len() != 1 {
		t.Errorf("got %+v after %+v", after, before)
	}
	for _, why := range []string{"ended", "disabled", "raised"} {
		s := newSite(t, routes)
		w := s.do("POST", "/renew?"+why+"=1", s.session(s.signedIn(t, "u1")))
		if !errors.Is(ended, auth.ErrSessionEnded) || s.Stores.Sessions.Len() != 0 {
			t.Errorf("%s: got %v and %d sessions", why, ended, s.Stores.Sessions.Len())
		}
		if c := setCookies(w)["gatehouse"]; c == nil || c.Value != "" || c.MaxAge >= 0 || len(w.Header()["Set-Cookie"]) != 1 {
			t.Errorf("%s: sets %q", why, w.Header()["Set-Cookie"])
		}
	}
}

func TestSignOut_EndsSession(t *testing.T) {
	signOut := Post("/sign-out", Open, func(r *Request) (Response, error) { return SeeOther("/"), r.SignOut() })
	routes := append(userRoutes, signOut)
	s := newSite(t, routes)
	token := s.signedIn(t, "u1")
	w := s.do("POST", "/sign-out", s.session(token))
	if c := setCookies(w)["gatehouse"]; w.Code != http.StatusSeeOther || c == nil || c.Value != "" || c.MaxAge >= 0 || len(w.Header()["Set-Cookie"]) != 1 {
		t.Errorf("got %d, %q", w.Code, w.Header()["Set-Cookie"])
	}
	if s.Stores.Sessions.Len() != 0 {
		t.Error("the session still exists")
	}
	if got := s.do("GET", "/", s.session(token)).Body.String(); got != "anonymous" {
		t.Errorf("the old cookie: got %s", got)
	}
	for name, change := range map[string]func(*http.Request){"again": s.session(token), "anonymous": func(*http.Request) {}, "garbage": s.session("x")} {
		if w := s.do("POST", "/sign-out", change); w.Code != http.StatusSeeOther {
			t.Errorf("%s: got %d", name, w.Code)
		}
	}
	// A sign-out right after a sign-in is final.
	s = newSite(t, []Route{Post("/", Open, func(r *Request) (Response, error) {
		return SeeOther("/"), errors.Join(r.SignIn(s.add("u1"), false), r.SignOut())
	})})
	if w := s.do("POST", "/"); setCookies(w)["gatehouse"].Value != "" || s.Stores.Sessions.Len() != 0 {
		t.Errorf("got %q and %d sessions", w.Header()["Set-Cookie"], s.Stores.Sessions.Len())
	}
	// A user who is still signed in does not see the signed-out page.
	for _, broken := range []string{"sessions.Find", "sessions.Delete", "sessions."} {
		s := newSite(t, routes)
		token := s.signedIn(t, "u1")
		s.FailOn(broken, errDown)
		w := s.do("POST", "/sign-out", s.session(token))
		s.FailOn(broken, nil)
		alive := s.do("GET", "/", s.session(token)).Body.String() == "u1"
		if alive {
			wantErrorPage(t, w, http.StatusServiceUnavailable)
		}
		if !alive && w.Code != http.StatusSeeOther {
			t.Errorf("without %s: got %d and the session is gone", broken, w.Code)
		}
	}
}

// TestIdleTime_RenewalIsBestEffort: a readable session is valid even if its idle time cannot be renewed. The
// next attempt waits for a second.
func TestIdleTime_RenewalIsBestEffort(t *testing.T) {
	now := noon
	s := newSite(t, userRoutes, func(s *site) { s.Clock = func() time.Time { return now } })
	token := s.signedIn(t, "u1")
	s.Stores.Sessions.TTL = time.Minute
	s.FailOn("sessions.Renew", errDown)
	for range 5 {
		if w := s.do("GET", "/private", s.session(token)); w.Code != http.StatusOK || w.Body.String() != "u1" {
			t.Fatalf("got %d %q", w.Code, w.Body)
		}
	}
	if tries := len(s.Calls("sessions.Renew")); tries != 1 {
		t.Errorf("got %d renewal attempts, want 1 at first", tries)
	}
	s.FailOn("sessions.Renew", nil)
	now = now.Add(time.Second)
	s.do("GET", "/private", s.session(token))
	if tries := len(s.Calls("sessions.Renew")); tries != 2 {
		t.Errorf("got %d renewal attempts, want 2 after a second", tries)
	}
}

// TestIdleTime_AutomaticReloadIsNoUse: a page that is left open in a browser without scripts does not keep the session alive.
func TestIdleTime_AutomaticReloadIsNoUse(t *testing.T) {
	s := newSite(t, userRoutes)
	token := s.signedIn(t, "u1")
	s.Stores.Sessions.TTL = time.Minute
	for path, want := range map[string]int{"/private?refresh": 0, "/private?refresh=1": 1} {
		before := len(s.Calls("sessions.Renew"))
		if w := s.do("GET", path, s.session(token)); w.Code != http.StatusOK {
			t.Fatalf("%s: got %d", path, w.Code)
		}
		if got := len(s.Calls("sessions.Renew")) - before; got != want {
			t.Errorf("%s: %d renewals, want %d", path, got, want)
		}
	}
}

func TestPages_PrivateOnesNeedRedis(t *testing.T) {
	for _, broken := range []string{"sessions.Find"} {
		s := newSite(t, userRoutes)
		s.Stores.Sessions.TTL = time.Second
		token := s.signedIn(t, "u1")
		s.FailOn(broken, errDown)
		if w := s.do("GET", "/", s.session(token)); w.Code != http.StatusOK || w.Body.String() != "anonymous" || len(w.Header()["Set-Cookie"]) != 0 {
			t.Errorf("without %s: an open page: got %d %q, %v", broken, w.Code, w.Body, w.Header())
		}
		w := s.do("GET", "/private", s.session(token))
		wantErrorPage(t, w, http.StatusServiceUnavailable)
		if w.Header().Get("Retry-After") != "5" {
			t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
		}
		if w := s.do("GET", "/machine", s.session(token)); w.Code != http.StatusOK {
			t.Errorf("an unauthenticated route: got %d", w.Code)
		}
		s.FailOn(broken, nil)
		if got := s.do("GET", "/private", s.session(token)).Body.String(); got != "u1" {
			t.Errorf("after Redis is back: got %s", got)
		}
	}
}

func FuzzSessionCookie(f *testing.F) {
	token := fakeToken("B")
	for _, s := range []string{"", token, token[1:], fakeToken("A"), "\x00", "\xff", `"` + token + `"`, token + "; gatehouse=" + token, strings.Repeat("é", 21) + "x"} {
		f.Add(s, "gatehouse="+s)
	}
	s := newSite(f, userRoutes)
	s.add("u1")
	s.put(token, func(rec *auth.Session) { rec.Deadline = noon.Add(24 * time.Hour) })
	f.Fuzz(func(t *testing.T, value, raw string) {
		s.Reset()
		s.log.Reset()
		for _, change := range []func(*http.Request){s.session(value), func(r *http.Request) { r.Header["Cookie"] = []string{raw} }} {
			known := ""
			for _, path := range []string{"/", "/private"} {
				w := s.do("GET", path, change)
				if w.Code >= 400 || len(w.Header()["Set-Cookie"]) != 0 {
					t.Errorf("%q, %q: got %d, %v", value, raw, w.Code, w.Header())
				}
				if w.Code == http.StatusOK {
					known = w.Body.String()
				}
			}
			if known == "u1" && !strings.Contains(value, token) && !strings.Contains(raw, token) {
				t.Errorf("%q, %q: signed in", value, raw)
			}
		}
		if s.Stores.Sessions.Len() != 1 || len(s.Calls("sessions.Commit", "sessions.Delete", "sessions.Renew")) != 0 {
			t.Errorf("%q, %q: %d sessions after %v", value, raw, s.Stores.Sessions.Len(), s.Calls())
		}
	})
}
