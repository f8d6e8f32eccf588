package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/url"

	"github.com/labstack/echo/v4"

	"gatehouse/templates"
)

// forwardAuthPolicy is the Content-Security-Policy of a page that loads no files.
var forwardAuthPolicy = func() string {
	sum := sha256.Sum256([]byte(templates.ForwardAuthErrorStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'"
}()

// writeVisitorPage writes an error page that a proxy shows at the address of another site.
func (s *Server) writeVisitorPage(c echo.Context, page templates.ErrorPage, otherAccount bool) error {
	v := templates.ForwardAuthErrorPage{ErrorPage: page}
	if otherAccount {
		v.SignOut = s.BaseOrigin + "/sign-out"
		if next := s.redirects.Safe(s.originalRequest(c.Request()).address()); next != "" {
			v.SignOut += "?next=" + url.QueryEscape(next)
		}
	}
	var body bytes.Buffer
	if err := renderPage(&body, templates.ForwardAuthError(v)); err != nil {
		return err
	}
	c.Response().Header().Set("Content-Security-Policy", forwardAuthPolicy)
	return write(c, page.Status, "text/html; charset=utf-8", body.Bytes())
}
