package web

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"runtime"
	"strings"
	"sync"
	"time"

	"gatehouse/templates"
)

// pages are the parsed templates by name.
type pages struct {
	byName map[string]*template.Template
	// slots bound how many pages are rendered at once: more would not be ready sooner, and
	// each holds its whole page.
	slots chan struct{}
	// stencils are *stencil by page and shape.
	stencils sync.Map
}

// parsePages parses every page with the layout and all partials, once, at the start: a
// template that is wrong stops the server and not a visitor.
func parsePages(asset func(string) (string, error)) (*pages, error) {
	base, err := template.New("").Funcs(functions(asset)).ParseFS(templates.FS, "layout.html", "partials/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the layout: %w", err)
	}
	files, err := fs.Glob(templates.FS, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("list the pages: %w", err)
	}
	p := &pages{byName: make(map[string]*template.Template), slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	for _, file := range files {
		page, err := template.Must(base.Clone()).ParseFS(templates.FS, file)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", file, err)
		}
		p.byName[strings.TrimSuffix(path.Base(file), ".html")] = page
	}
	return p, nil
}

// NewRenderer returns what renders the pages without a server: by name and struct.
func NewRenderer() (func(page string, data any) (string, error), error) {
	statics, err := newAssets()
	if err != nil {
		return nil, err
	}
	p, err := parsePages(statics.url)
	if err != nil {
		return nil, err
	}
	return func(page string, data any) (string, error) {
		var b bytes.Buffer
		err := p.render(&b, page, data)
		return b.String(), err
	}, nil
}

func (p *pages) render(w *bytes.Buffer, name string, data any) error {
	if page, ok := data.(Stencilled); ok && page.Shape() != "" {
		return p.renderStencil(w, name, page)
	}
	return p.execute(w, name, data)
}

func (p *pages) execute(w *bytes.Buffer, name string, data any) error {
	t, ok := p.byName[name]
	if !ok {
		return fmt.Errorf("there is no page %q", name)
	}
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	if err := t.ExecuteTemplate(bounded{w}, "layout", data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	return nil
}

func functions(asset func(string) (string, error)) template.FuncMap {
	return template.FuncMap{
		"asset":   asset,
		"dict":    dict,
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"plural":  plural,
	}
}

// dict makes a map of keys and values, to hand several things to a partial.
func dict(pairs ...any) (map[string]any, error) {
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: key %v is not a string", pairs[i])
		}
		m[key] = pairs[i+1]
	}
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict: %d arguments are no pairs", len(pairs))
	}
	return m, nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// query returns one parameter of an address, escaped.
func query(name, value string) string { return url.Values{name: {value}}.Encode() }
