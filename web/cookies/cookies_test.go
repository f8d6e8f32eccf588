package cookies

import (
	"gatehouse/auth"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func TestPolicy_SetsNamesAndAttributes(t *testing.T) {
	record := auth.Session{Deadline: noon.Add(24 * time.Hour)}
	remembered := auth.Session{Deadline: noon.Add(720 * time.Hour), Remember: true}
	for _, c := range []struct {
		name   string
		policy Policy
		prefix string
		rest   string
	}{
		{"http", Policy{}, "", "; Path=/%s; HttpOnly; SameSite=Lax"},
		{"https", Policy{Secure: true}, "__Host-", "; Path=/%s; HttpOnly; Secure; SameSite=Lax"},
		{"https, shared", Policy{Secure: true, Domain: "example.org"}, "__Secure-", "; Path=/; Domain=example.org%s; HttpOnly; Secure; SameSite=Lax"},
	} {
		attributes := func(lifetime string) string { return strings.Replace(c.rest, "%s", lifetime, 1) }
		for what, pair := range map[string][2]string{
			"session":    {c.policy.Session("tok", record, noon).String(), c.prefix + "gatehouse=tok" + attributes("")},
			"remembered": {c.policy.Session("tok", remembered, noon).String(), c.prefix + "gatehouse=tok" + attributes("; Expires=Wed, 01 Jul 2026 12:00:00 GMT; Max-Age=2592000")},
			"ended":      {c.policy.ExpiredSession().String(), c.prefix + "gatehouse=" + attributes("; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0")},
		} {
			// net/http writes Path=/%s with the domain in between.
			if strings.ReplaceAll(pair[0], " ", "") != strings.ReplaceAll(pair[1], " ", "") {
				t.Errorf("%s, %s:\n got %s\nwant %s", c.name, what, pair[0], pair[1])
			}
		}
	}
	// The device cookie is restricted to this host.
	for _, domain := range []string{"", "example.org"} {
		if got := (Policy{Domain: domain}).Device("b").String(); got != "gatehouse_browser=b; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax" {
			t.Errorf("http, domain %q: got %s", domain, got)
		}
		if got := (Policy{Secure: true, Domain: domain}).Device("b").String(); got != "__Host-gatehouse_browser=b; Path=/; Max-Age=31536000; HttpOnly; Secure; SameSite=Lax" {
			t.Errorf("https, domain %q: got %s", domain, got)
		}
	}
	late := Policy{}.Session("tok", remembered, noon.Add(1000*time.Hour))
	if late.MaxAge != 1 {
		t.Errorf("Max-Age is %d; 0 would mean none", late.MaxAge)
	}
}

// anyToken accepts values of the length of a session token.
func anyToken(s string) bool { return len(s) == auth.HashLength }

func TestAppendValues_FindsValidValuesUpToTheLimit(t *testing.T) {
	a, b := strings.Repeat("A", auth.HashLength), strings.Repeat("B", auth.HashLength)
	for header, want := range map[string][]string{
		"": nil, "x=" + a: nil, "gatehouse=" + a + ";gatehouse=" + b: {a, b}, "gatehouse=" + a + "; gatehouse=" + a: {a, a},
		`gatehouse="` + a + `"`: nil, "gatehouse=planted; gatehouse=" + b: {b}, "gatehouse_browser=" + a + "; gatehouse=" + b: {b},
		strings.Repeat("gatehouse="+a+"; ", 9): {a, a, a, a},
	} {
		if got := AppendValues(nil, &http.Request{Header: http.Header{"Cookie": {header}}}, "gatehouse", anyToken, 4); !slices.Equal(got, want) {
			t.Errorf("in %q: %q, want %q", header, got, want)
		}
	}
}

func TestWithoutOurs_AllocatesOnlyForMixedHeaders(t *testing.T) {
	ours := "__Secure-gatehouse=" + strings.Repeat("A", auth.HashLength)
	for _, headers := range [][]string{nil, {ours}, {ours + "; __Host-gatehouse_browser=alice.x"}, {"a=1; b=2"}} {
		if n := testing.AllocsPerRun(100, func() { WithoutOurs(headers) }); n != 0 {
			t.Errorf("%q: %v allocations", headers, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { WithoutOurs([]string{"a=1; " + ours + "; b=2"}) }); n > 3 {
		t.Errorf("a mixed header: %v allocations", n)
	}
}

func TestValue_IsTheFirstValidOne(t *testing.T) {
	a, b := strings.Repeat("A", auth.HashLength), strings.Repeat("B", auth.HashLength)
	for header, want := range map[string]string{
		"": "", "x=" + a: "", "gatehouse=" + a: a, "y=1; gatehouse=" + a + "; z=2": a, "gatehouse=" + a + ";gatehouse=" + b: a,
		"gatehouse=planted; gatehouse=" + b: b, "xgatehouse=" + a: "", "gatehouse=" + a + "x": "", `gatehouse="` + a + `"`: "", "gatehouse": "", ";;gatehouse=" + a + " ;": a,
		"gatehouse_browser=" + a: "", "Gatehouse=" + a: "", "gatehouse= " + a: "",
	} {
		if got := Value(&http.Request{Header: http.Header{"Cookie": {header}}}, "gatehouse", anyToken); got != want {
			t.Errorf("in %q: %q, want %q", header, got, want)
		}
	}
	if got := Value(&http.Request{Header: http.Header{"Cookie": {"x=1", "gatehouse=" + b}}}, "gatehouse", anyToken); got != b {
		t.Errorf("in the second header: %q", got)
	}
}
