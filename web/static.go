package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/static"
)

// assets are the embedded files. They are named after a hash of their content, so that browsers can cache them forever,
// and compressed once at startup.
type assets struct {
	byPath map[string]asset  // "app.1f2e3d4c.css"
	urls   map[string]string // "app.css" to "/static/app.1f2e3d4c.css"
}

type asset struct {
	kind       string
	plain      []byte
	compressed []byte // nil when it would not be smaller
}

func newAssets() (*assets, error) {
	s := &assets{byPath: make(map[string]asset), urls: make(map[string]string)}
	err := fs.WalkDir(static.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(static.FS, name)
		if err != nil {
			return err
		}
		return s.add(name, content)
	})
	if err != nil {
		return nil, fmt.Errorf("read the static files: %w", err)
	}
	return s, nil
}

func (s *assets) add(name string, content []byte) error {
	ext := path.Ext(name)
	sum := sha256.Sum256(content)
	fingerprinted := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
	compressed, err := compress(content)
	if err != nil {
		return err
	}
	s.byPath[fingerprinted] = asset{kind: contentType(ext), plain: content, compressed: compressed}
	s.urls[name] = "/static/" + fingerprinted
	return nil
}

// contentType prefers fixed types to the system's tables, which differ between machines.
func contentType(ext string) string {
	switch ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".ico":
		return "image/x-icon"
	case ".png":
		return "image/png"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".webmanifest":
		return "application/manifest+json"
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}

func compress(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() >= len(content) {
		return nil, nil
	}
	return b.Bytes(), nil
}

// url returns the URL path of a file by its name.
func (s *assets) url(name string) (string, error) {
	u, ok := s.urls[name]
	if !ok {
		return "", fmt.Errorf("no static file %q", name)
	}
	return u, nil
}

// File returns a route that serves a static file under its own name, where browsers and crawlers look for it.
func File(name string) Route {
	return Get("/"+name, Unauthenticated, func(r *Request) (Response, error) {
		u, err := r.server.statics.url(name)
		if err != nil {
			return Response{}, err
		}
		a := r.server.statics.byPath[strings.TrimPrefix(u, "/static/")]
		return Document(a.kind, a.plain).CachedFor(24 * time.Hour), nil
	})
}

func (s *assets) serve(c echo.Context) error {
	a, ok := s.byPath[c.Param("*")]
	if !ok {
		return echo.NewHTTPError(http.StatusNotFound)
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Type", a.kind)
	body := a.plain
	if a.compressed != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(c.Request().Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body = a.compressed
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	return write(c, http.StatusOK, a.kind, body)
}

// acceptsGzip parses the part of Accept-Encoding that browsers and proxies use (RFC 9110, section 12.5.3).
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, weight, weighed := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		if !weighed {
			return true
		}
		name, value, _ := strings.Cut(weight, "=")
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return strings.EqualFold(strings.TrimSpace(name), "q") && err == nil && q > 0
	}
	return false
}
