package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"

	"github.com/labstack/echo/v4"
)

// visitorStyle is inside of the page: the page is shown at somebody else's address, where our files are not.
const visitorStyle = `:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1.5rem}` +
	`h1{font-size:1.44rem;line-height:1.25}small{opacity:.8}a{color:inherit;display:inline-block;padding:.65rem 0}`

var visitorPage = template.Must(template.New("visitor").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{.Title}} · Gatehouse</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
{{- with .Refresh}}
<meta http-equiv="refresh" content="{{.}}">
{{- end}}
<style>` + visitorStyle + `</style>
</head>
<body>
<main>
<h1>{{.Heading}}</h1>
<p>{{.What}}</p>
{{- with .Do}}
<p>{{.}}</p>
{{- end}}
{{- with .RetryIn}}
<p>Try again in {{.}}.</p>
{{- end}}
{{- with .SignOut}}
<p><a href="{{.}}">Sign in with another account</a></p>
{{- end}}
<p><small>Request {{.RequestID}}</small></p>
</main>
</body>
</html>
`))

var visitorPolicy = func() string {
	sum := sha256.Sum256([]byte(visitorStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'"
}()

// visitorError is an error page for people who are at another site.
type visitorError struct {
	ErrorPage
	// SignOut is where to change the account, if that could help; else "".
	SignOut string
}

// writeVisitorPage is writeErrorPage for a proxy to hand on.
func (s *Server) writeVisitorPage(c echo.Context, page ErrorPage, otherAccount bool) error {
	v := visitorError{ErrorPage: page}
	if otherAccount {
		v.SignOut = s.BaseOrigin + "/sign-out"
		if next := s.safeRedirect(s.originalRequest(c.Request()).address()); next != "" {
			v.SignOut += "?" + query("next", next)
		}
	}
	var body bytes.Buffer
	if err := visitorPage.Execute(&body, v); err != nil {
		return err
	}
	c.Response().Header().Set("Content-Security-Policy", visitorPolicy)
	return write(c, page.Status, "text/html; charset=utf-8", body.Bytes())
}
