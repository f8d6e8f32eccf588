package web

import (
	"net/http"
	"slices"
	"testing"
)

// TestForwardAuth_RemovesOwnCookies: the 200 carries the Cookie header that the proxy passes to the site.
func TestForwardAuth_RemovesOwnCookies(t *testing.T) {
	s, session := newForwardAuthSession(t)
	ours := sentCookies(session)
	for _, c := range []struct{ sent, want string }{
		{ours, ""},
		{"a=1; " + ours + "; b=2", "a=1; b=2"},
		{ours + "; a=1", "a=1"},
		{"a=1; " + ours, "a=1"},
		{"a=1;" + ours + ";b=2", "a=1;b=2"},
		{ours + "; gatehouse=old; __Host-gatehouse=old; __Secure-gatehouse=old; __Secure-gatehouse_browser=b; __Host-gatehouse_browser=b; gatehouse_browser=b", ""},
		{ours + "; " + ours + ";;  ;", ""},
		{"gatehouse; " + ours + "; __Secure-gatehouse =x; \t gatehouse\t=y", ""},
		// The site's own cookies stay as the browser sent them.
		{ours + `;  q="a b, c" ;; =x; =; x; y==z; ` + "\xa0u=\xfc" + ` ; a=1; a=2`, `q="a b, c" ;; =x; =; x; y==z; ` + "\xa0u=\xfc" + ` ; a=1; a=2`},
		{ours + "; Gatehouse=1; xgatehouse=2; gatehousex=3; __host-gatehouse=4; __Host-=5; __Host-gatehouse_=6; gatehouse_browserx=7; a=gatehouse=8", "Gatehouse=1; xgatehouse=2; gatehousex=3; __host-gatehouse=4; __Host-=5; __Host-gatehouse_=6; gatehouse_browserx=7; a=gatehouse=8"},
		{`a="1; ` + ours + `; 2"`, `a="1; 2"`},
	} {
		w := s.do("GET", "/auth/verify", header("Cookie", c.sent))
		if got := w.Header()["Cookie"]; w.Code != http.StatusOK || !slices.Equal(got, []string{c.want}) {
			t.Errorf("%q: %d with the cookies %q, want %q", c.sent, w.Code, got, c.want)
		}
	}
	// Some clients send several Cookie headers (RFC 9113, section 8.2.3).
	w := s.do("GET", "/auth/verify", header("Cookie", "a=1"), header("Cookie", ours), header("Cookie", "b=2; gatehouse=x"), header("Cookie", ""))
	if got := w.Header()["Cookie"]; !slices.Equal(got, []string{"a=1; b=2"}) {
		t.Errorf("several headers: got %q", got)
	}
	// A refusal carries no cookies.
	if w := s.do("GET", "/auth/verify", combine(header("Cookie", "a=1"), header("Cookie", "b=2"))); w.Code == http.StatusOK || len(w.Header()["Cookie"]) != 0 {
		t.Errorf("a refusal has the cookies: %d %v", w.Code, w.Header())
	}
}

// sentCookies returns the Cookie header that change adds.
func sentCookies(change func(*http.Request)) string {
	r := &http.Request{Header: http.Header{}}
	change(r)
	return r.Header.Get("Cookie")
}
