package handlers

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/docs"
)

func TestAPIPage_ListsTheOperations(t *testing.T) {
	s := newSite(t)
	s.Handlers.OpenAPI = docs.OpenAPI
	w := s.browser().get("/api")
	wantPage(t, w, http.StatusOK, "GET /api/time", "POST /api/tokens", "Get the current user.", `href="/api/openapi.json"`, "https://example.com/api/me")
	if n := strings.Count(w.Body.String(), "<li>"); n != 7 {
		t.Errorf("the page lists %d operations, want 7", n)
	}
	s.Handlers.OpenAPI = []byte("{")
	wantPage(t, s.browser().get("/api"), http.StatusInternalServerError)
}

func TestAPI_NamesUnknownFields(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	send := func(body string) (int, string) {
		req := newRequest("POST", "/api/tokens")
		req.SetBasicAuth("alice", secret)
		req.Header.Set("Content-Type", "application/json")
		req.Body, req.ContentLength = http.NoBody, int64(len(body))
		if body != "" {
			req.Body = readCloser{strings.NewReader(body)}
		}
		w := s.browser().send(req)
		return w.Code, w.Body.String()
	}
	for body, want := range map[string]string{
		`{"nam": "x", "Permission": [], "name": "y"}`: `"errors":{"Permission":"There is no such field.","nam":"There is no such field."}`,
		`{"<b>": 1}`: `"\u003cb\u003e"`,
		`{"` + strings.Repeat("x", 5000) + `": 1}`: `"` + strings.Repeat("x", 64) + `"`,
	} {
		if code, text := send(body); code != http.StatusUnprocessableEntity || !strings.Contains(text, want) || !strings.Contains(text, `"code":"invalid"`) || len(text) > 2000 {
			t.Errorf("%.60s: got %d %.500s", body, code, text)
		}
	}
	if s.Stores.Tokens.Len() != 0 {
		t.Errorf("%d tokens were created", s.Stores.Tokens.Len())
	}
	for _, body := range []string{`[]`, `7`, `{`, `{} {}`, `{"name": 7}`} {
		if code, text := send(body); code != http.StatusBadRequest || !strings.Contains(text, "malformed_json") {
			t.Errorf("%s: got %d %s", body, code, text)
		}
	}
	for _, body := range []string{``, `{}`, `null`, `{"NAME": "x", "expires_in": 60}`} {
		if code, text := send(body); code != http.StatusCreated {
			t.Errorf("%q: got %d %s", body, code, text)
		}
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
