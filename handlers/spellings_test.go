package handlers

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/web"
)

// TestRoutes_HaveOneSpelling requests every route, as an administrator, under other spellings of its path, which must not
// reach it: a proxy may protect a route by its path.
func TestRoutes_HaveOneSpelling(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	root := s.signedIn(t, "root")
	for _, r := range s.Routes() {
		path := strings.ReplaceAll(r.Path, ":id", "current")
		method := r.Method
		if method == web.AnyMethod {
			method = http.MethodGet
		}
		for _, odd := range []string{
			"/" + path, path + "/", path + "//", path + "/.", path + "/./", "/." + path, "/x/.." + path, path + "/x/..", path + "%2f", path + "%2F", path + "%5c", path + ";", path + ";x=y", path + "%3b", path + "%00", path + "%20", path + "%3f", path + "#",
			`/\` + path[1:], "/%2f" + path[1:], "/%2e" + path, fmt.Sprintf("/%%%02x", append([]byte(path), '/')[1]) + path[min(2, len(path)):], strings.Replace(path, "/", "%2f", 2), strings.ToUpper(path) + "X", "*" + path,
		} {
			if odd == path || strings.HasPrefix(odd, path+"/") && r.Method == web.AnyMethod {
				continue // forward auth accepts the visitor's path after its own
			}
			req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + odd + " HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n\r\n")))
			if err != nil {
				continue // net/http answers 400
			}
			req.RemoteAddr = "192.0.2.1:1234"
			s.Reset()
			w := root.send(req)
			if odd == path+"/" && w.Code == http.StatusPermanentRedirect {
				if page := r.Access != web.Unauthenticated && !strings.HasPrefix(path, "/api/"); !page || w.Header().Get("Location") != path {
					t.Errorf("%s %s leads to %q", method, odd, w.Header().Get("Location"))
				}
			} else if w.Code != http.StatusNotFound && w.Code != http.StatusBadRequest {
				t.Errorf("%s %s: got %d", method, odd, w.Code)
			}
			if calls := s.Calls(writes...); len(calls) != 0 {
				t.Errorf("%s %s made the calls %q", method, odd, calls)
			}
		}
	}
}
