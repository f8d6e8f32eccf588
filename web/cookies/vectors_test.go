package cookies_test

import (
	"encoding/json"
	"gatehouse/web/cookies"
	"gatehouse/web/sessions"
	"net/http"
	"os"
	"slices"
	"testing"
)

// TestAppendValues_AgreesWithTheReaders: in every Cookie header of clients/vectors.json the server finds the session
// cookie exactly where the readers do.
func TestAppendValues_AgreesWithTheReaders(t *testing.T) {
	text, err := os.ReadFile("../../clients/vectors.json")
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
		req := &http.Request{Header: http.Header{"Cookie": {string(c.Header)}}}
		found := cookies.AppendValues(nil, req, c.CookieName, sessions.IsToken, 4)
		if want := c.Want != "signed out"; slices.Contains(found, good) != want {
			t.Errorf("%s: the server found %q; readers say %s", c.Name, found, c.Want)
		}
	}
	if tried < 50 {
		t.Errorf("got only %d headers", tried)
	}
}
