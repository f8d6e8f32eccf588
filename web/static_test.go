package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"gatehouse/static"
)

func TestAcceptsGzip_ParsesAcceptEncoding(t *testing.T) {
	for header, want := range map[string]bool{
		"":                              false,
		"gzip":                          true,
		"GZIP":                          true,
		"gzip, deflate, br":             true,
		"br;q=1.0, gzip;q=0.8, *;q=0.1": true,
		" deflate ,\tgzip ":             true,
		"gzip;q=1":                      true,
		"gzip; q=0.001":                 true,
		"gzip;q=0":                      false,
		"gzip; q=0":                     false,
		"gzip ;\tq=0.000":               false,
		"gzip;Q=0":                      false,
		"gzip;q = 0.0":                  false,
		"deflate, br":                   false,
		"identity":                      false,
		"*":                             false, // not named, so sent uncompressed
		"notgzip":                       false,
		"gzipx":                         false,
		"gzip;q=x":                      false,
		",,;;=,":                        false,
		strings.Repeat("a,", 30000):     false,
	} {
		if got := acceptsGzip(header); got != want {
			t.Errorf("acceptsGzip(%.40q) = %v", header, got)
		}
	}
}

func FuzzAcceptsGzip(f *testing.F) {
	for _, s := range []string{"", "gzip", "gzip;q=0", "br, gzip;q=0.5", "*;q=0", "gzip;;", ",gzip"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if acceptsGzip(header) && !strings.Contains(strings.ToLower(header), "gzip") {
			t.Errorf("%q does not name gzip", header)
		}
		if acceptsGzip("br;q=0, "+header+" ") != acceptsGzip(header) {
			t.Errorf("%q is read differently after another coding", header)
		}
	})
}

func TestAssets_AreNamedByContent(t *testing.T) {
	url := func(name, content string) string {
		t.Helper()
		s := &assets{byPath: map[string]asset{}, urls: map[string]string{}}
		if err := s.add(name, []byte(content)); err != nil {
			t.Fatal(err)
		}
		u, err := s.url(name)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	a := url("app.css", "a{}")
	if !regexp.MustCompile(`^/static/app\.[0-9a-f]{12}\.css$`).MatchString(a) {
		t.Errorf("got %q", a)
	}
	if url("app.css", "a{}") != a {
		t.Error("the same content has two addresses")
	}
	if url("app.css", "b{}") == a {
		t.Error("different content has the same address")
	}
	if _, err := (&assets{}).url("missing.css"); err == nil {
		t.Error("a missing file has an address")
	}
}

func TestAssets_AreCompressed(t *testing.T) {
	s := &assets{byPath: map[string]asset{}, urls: map[string]string{}}
	long := bytes.Repeat([]byte("body{color:red}"), 100)
	if err := s.add("long.css", long); err != nil {
		t.Fatal(err)
	}
	if err := s.add("short.css", []byte("a{}")); err != nil {
		t.Fatal(err)
	}
	for path, a := range s.byPath {
		if strings.HasPrefix(path, "short") {
			if a.compressed != nil {
				t.Error("short.css is compressed although that makes it larger")
			}
			continue
		}
		if len(a.compressed) == 0 || len(a.compressed) >= len(a.plain) {
			t.Errorf("%d octets became %d", len(a.plain), len(a.compressed))
		}
	}
}

func TestAssets_AreServed(t *testing.T) {
	s := newSite(t, userRoutes)
	err := fs.WalkDir(static.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(static.FS, name)
		if err != nil {
			return err
		}
		u, err := s.statics.url(name)
		if err != nil {
			return err
		}
		s.Reset()
		plain := s.do("GET", u, s.session(fakeToken("A")))
		if plain.Code != http.StatusOK || !bytes.Equal(plain.Body.Bytes(), content) || plain.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: got %d and %d octets", name, plain.Code, plain.Body.Len())
		}
		h := plain.Header()
		if h.Get("Cache-Control") != "public, max-age=31536000, immutable" || h.Get("X-Content-Type-Options") != "nosniff" || len(h["Set-Cookie"]) != 0 {
			t.Errorf("%s: got the headers %v", name, h)
		}
		if calls := s.Calls(); len(calls) != 0 {
			t.Errorf("%s: the stores were called: %v", name, calls)
		}
		zipped := s.do("GET", u, header("Accept-Encoding", "gzip, br"))
		if zipped.Header().Get("Content-Encoding") != "gzip" {
			if zipped.Body.Len() > 1000 && strings.HasPrefix(zipped.Header().Get("Content-Type"), "text/") {
				t.Errorf("%s: got %d octets uncompressed", name, zipped.Body.Len())
			}
			return nil
		}
		if zipped.Header().Get("Vary") != "Accept-Encoding" || h.Get("Vary") != "Accept-Encoding" || zipped.Body.Len() >= len(content) {
			t.Errorf("%s: got %d octets and the headers %v", name, zipped.Body.Len(), zipped.Header())
		}
		r, err := gzip.NewReader(zipped.Body)
		if err != nil {
			return err
		}
		if unzipped, err := io.ReadAll(r); err != nil || !bytes.Equal(unzipped, content) {
			t.Errorf("%s: the decompressed file differs (%v)", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAssets_MissingOnesAreNotFound(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{"/static/", "/static/app.css", "/static/../go.mod", "/static/%2e%2e/go.mod", "/static/app.000000000000.css", "/static/fs.go", "/static"} {
		wantErrorPage(t, s.do("GET", path), http.StatusNotFound)
	}
	if w := s.do("HEAD", s.statics.urls["app.css"]); w.Code != http.StatusOK {
		t.Errorf("HEAD: got %d", w.Code)
	}
}

func TestContentType_IsIndependentOfTheSystem(t *testing.T) {
	for ext, want := range map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
		".png": "image/png", ".nothing-known": "application/octet-stream",
	} {
		if got := contentType(ext); got != want {
			t.Errorf("contentType(%q) = %q", ext, got)
		}
	}
}
