package web

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"testing"
)

// TestCookieHeader_ServerAgreesWithTheReaders: in every Cookie header of clients/vectors.json the server finds the
// session's cookie exactly where the readers do.
func TestCookieHeader_ServerAgreesWithTheReaders(t *testing.T) {
	text, err := os.ReadFile("../clients/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Cases []struct {
			Name, Want, Cookie string
			Header             []byte `json:"cookie_header"`
			CookieName         string `json:"cookie_name"`
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	good, tried := vectors.Cases[0].Cookie, 0
	for _, c := range vectors.Cases {
		if c.CookieName == "" {
			continue
		}
		tried++
		header := http.Header{"Cookie": {string(c.Header)}}
		found := appendCookies(nil, header["Cookie"], c.CookieName, tokenShaped, maxSessionCookies)
		if want := c.Want != "signed out"; slices.Contains(found, good) != want {
			t.Errorf("%s: the server found %q; readers say %s", c.Name, found, c.Want)
		}
	}
	if tried < 50 {
		t.Errorf("there are only %d headers", tried)
	}
}
