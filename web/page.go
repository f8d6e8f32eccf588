package web

import (
	"bytes"
	"context"
	"fmt"

	"github.com/a-h/templ"

	"gatehouse/templates"
)

// Page returns the base of a page's struct.
func (r *Request) Page(title string) templates.Page {
	return templates.Page{Title: title, Path: r.Path(), User: r.user, AssetLinks: r.server.assetLinks}
}

// renderPage renders a page into the buffer, up to the size that a response may have.
func renderPage(body *bytes.Buffer, page templ.Component) error {
	// Components end with the error of their context. A canceled request, or one past its deadline, still gets its
	// error page.
	if err := page.Render(context.Background(), bounded{body}); err != nil {
		return fmt.Errorf("render a page: %w", err)
	}
	return nil
}

// pageLinks returns the elements that load the static files of every page.
func (s *assets) pageLinks() (templ.Component, error) {
	var addresses [3]string
	for i, name := range []string{"app.css", "app.js", "favicon.svg"} {
		var err error
		if addresses[i], err = s.url(name); err != nil {
			return nil, err
		}
	}
	return templates.AssetLinks(addresses[0], addresses[1], addresses[2])
}
