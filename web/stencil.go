package web

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
)

// Stencilled is the struct of a page that changes in a few places only from one request to
// the next. Its template is executed once for each shape, with marks in these places, and cut
// at the marks; after that a page is its pieces with the values between them. html/template
// stays the one who decides what a page looks like, but no longer costs more than
// everything else that a request does.
//
// A value may stand in text or in a quoted attribute, where escaping is the same; never in an
// address, a script or a style.
type Stencilled interface {
	// Shape names everything that changes the page elsewhere than in its slots; "" for a page
	// that is not worth a stencil.
	Shape() string
	// Slots returns the values, in an order of its own.
	Slots() []string
	// WithSlots returns the same page with other values.
	WithSlots(values []string) any
}

// stencil is a page cut into pieces: between pieces[i] and pieces[i+1] comes slot order[i].
type stencil struct {
	pieces [][]byte
	order  []int
}

// slotEscaper does what html/template does in text and in quoted attributes.
var slotEscaper = strings.NewReplacer("\x00", "\uFFFD", `"`, "&#34;", "&", "&amp;", "'", "&#39;", "+", "&#43;", "<", "&lt;", ">", "&gt;")

func (p *pages) renderStencil(w *bytes.Buffer, name string, page Stencilled) error {
	key := name + "/" + page.Shape()
	s, ok := p.stencils.Load(key)
	if !ok {
		cut, err := p.cut(name, page)
		if err != nil {
			return err
		}
		s, _ = p.stencils.LoadOrStore(key, cut)
	}
	s.(*stencil).fill(w, page.Slots())
	return nil
}

// cut executes the template with a mark in each slot and cuts it at the marks.
func (p *pages) cut(name string, page Stencilled) (*stencil, error) {
	// Random, so that nothing that a template says can be taken for a mark.
	secret := "slot" + rand.Text()
	values := make([]string, len(page.Slots()))
	for i := range values {
		values[i] = fmt.Sprintf("%s%03d", secret, i)
	}
	var whole bytes.Buffer
	if err := p.execute(&whole, name, page.WithSlots(values)); err != nil {
		return nil, err
	}
	s := &stencil{}
	parts := bytes.Split(whole.Bytes(), []byte(secret))
	s.pieces = append(s.pieces, parts[0])
	for _, part := range parts[1:] {
		var slot int
		if _, err := fmt.Sscanf(string(part[:3]), "%03d", &slot); err != nil {
			return nil, fmt.Errorf("cut %s: %w", name, err)
		}
		s.order = append(s.order, slot)
		s.pieces = append(s.pieces, part[3:])
	}
	return s, nil
}

func (s *stencil) fill(w *bytes.Buffer, values []string) {
	w.Write(s.pieces[0])
	for i, slot := range s.order {
		_, _ = slotEscaper.WriteString(w, values[slot])
		w.Write(s.pieces[i+1])
	}
}
