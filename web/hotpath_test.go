package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkHotPath measures the requests that need neither SQL nor a password hash, with in-memory stores: what remains
// is the cost of this package.
func BenchmarkHotPath(b *testing.B) {
	s := newSite(b, append([]Route{Verify("/auth/verify")}, apiRoutes...))
	s.Log = slog.New(slog.DiscardHandler)
	user := s.account(b, "alice")
	session := s.session(setCookies(s.do("POST", "/sign-in?user="+user.ID))["gatehouse"].Value)
	token := authorization("Bearer " + s.token(b, user, nil))
	for _, c := range []struct {
		name, path string
		change     func(*http.Request)
	}{
		{"page", "/private", session},
		{"basic", "/api/who", basic("alice", password)},
		{"token", "/api/who", token},
		{"forward auth, session", "/auth/verify", session},
		{"forward auth, token", "/auth/verify", token},
	} {
		b.Run(c.name, func(b *testing.B) {
			req := httptest.NewRequest("GET", c.path, nil)
			c.change(req)
			if w := s.do("GET", c.path, c.change); w.Code != http.StatusOK {
				b.Fatalf("got %d %s", w.Code, w.Body)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.ServeHTTP(&discardWriter{header: http.Header{}}, req)
			}
		})
	}
}

// discardWriter is a response writer that discards the body.
type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header       { return w.header }
func (*discardWriter) WriteHeader(int)             {}
func (*discardWriter) Write(p []byte) (int, error) { return len(p), nil }
