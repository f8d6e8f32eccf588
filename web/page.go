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
	return templates.Page{Title: title, Path: r.Path(), User: r.user, Assets: r.server.assets}
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

// pageAssets returns the addresses of the files that pages load.
func (s *assets) pageAssets() (assets templates.Assets, err error) {
	for name, address := range map[string]*string{"app.css": &assets.Stylesheet, "app.js": &assets.Script, "favicon.svg": &assets.Icon} {
		if *address, err = s.url(name); err != nil {
			return templates.Assets{}, err
		}
	}
	return assets, nil
}
