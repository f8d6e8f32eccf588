package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// counting counts the line ends that it hands over, and keeps their places.
type counting struct {
	r    io.Reader
	read int64
	ends []int64
	// checked is the line that is known to be UTF-8 so far, bad the first one that is not, or 0.
	checked, bad int
	tail         []byte // of a rune that may go on
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.read+int64(i))
		}
	}
	c.read += int64(n)
	c.check(p[:n], err != nil)
	return n, err
}

// check notes bytes that are not UTF-8, which JSON decoders replace without a word.
func (c *counting) check(p []byte, last bool) {
	text := append(c.tail, p...)
	for len(text) > 0 && c.bad == 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size <= 1 {
			if !last && !utf8.FullRune(text) {
				break
			}
			c.bad = c.checked
		}
		if r == '\n' {
			c.checked++
		}
		text = text[size:]
	}
	c.tail = append([]byte(nil), text...)
}

// line returns the line of a place, from 1. Places only grow.
func (c *counting) line(offset int64, before *int) int {
	dropped := 0
	for dropped < len(c.ends) && c.ends[dropped] < offset {
		dropped++
	}
	c.ends = c.ends[dropped:]
	*before += dropped
	return *before + 1
}

// readJSON reads a list of objects, or objects one after the other (JSON lines).
func readJSON(in *reader, o Options, tell func(string) func(Row) error) error {
	text := &counting{r: in.r, checked: in.skip + 1}
	d := json.NewDecoder(text)
	d.UseNumber()
	before := in.skip
	list := false
	if first, _ := in.r.Peek(1); bytes.Equal(first, []byte("[")) {
		list = true
		if _, err := d.Token(); err != nil {
			return jsonError(err, d, text, before)
		}
	}
	u := &users{options: o, tell: tell, groups: map[string]string{}}
	for d.More() {
		// InputOffset is the end of what was read; what follows is white space, a comma, the object.
		var raw json.RawMessage
		from := d.InputOffset()
		if err := d.Decode(&raw); err != nil {
			return jsonError(err, d, text, before)
		}
		start := max(from, d.InputOffset()-int64(len(raw)))
		if text.bad > 0 {
			return errNotUTF8(text.bad)
		}
		if err := u.add(raw, text.line(start, &before)); err != nil {
			return err
		}
	}
	if list {
		if _, err := d.Token(); err != nil {
			return jsonError(err, d, text, before)
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows after the list")
	}
	return u.end()
}

func jsonError(err error, d *json.Decoder, text *counting, before int) error {
	if text.bad > 0 {
		return errNotUTF8(text.bad)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("line %d: this is not JSON: %w", text.line(syntaxOffset(d, syntax), &before), err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle: it is not the whole export")
	}
	return fmt.Errorf("read the file: %w", err)
}

// syntaxOffset returns where the file stops being JSON. The decoder's own count leaves out what stands
// between the objects of a list, so the object at fault is looked at again.
func syntaxOffset(d *json.Decoder, syntax *json.SyntaxError) int64 {
	at := d.InputOffset()
	if syntax.Offset == at {
		return at
	}
	rest, _ := io.ReadAll(d.Buffered())
	var object json.RawMessage
	if again, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(rest, &object)); ok {
		return at + again.Offset - 1
	}
	return at
}

// users turns objects into rows. A Django names groups by numbers, and may tell their names later.
type users struct {
	options Options
	tell    func(source string) func(Row) error
	seen    bool              // an object that is no dump's
	groups  map[string]string // names by number
	waiting []Row             // whose groups are numbers without a name so far
}

func (u *users) add(raw json.RawMessage, line int) error {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&object); err != nil || object == nil {
		return u.tell("")(Row{Line: line, Fault: "This is not an object with the fields of a user."})
	}
	model, isDump := object["model"].(string)
	fields, hasFields := object["fields"].(map[string]any)
	if !isDump || !hasFields {
		r := recordOf(object)
		if err := u.look(r, line); err != nil {
			return err
		}
		return u.tell(sourceOf(r))(r.row(line, u.options.Username))
	}
	if strings.HasSuffix(model, ".group") {
		u.groups[plain(object["pk"])], _ = fields["name"].(string)
		return nil
	}
	if _, isUser := fields["password"]; !isUser {
		return nil // permissions, content types and the like
	}
	fields["id"] = object["pk"]
	if object["pk"] == nil { // --natural-primary
		fields["id"] = fields["username"]
	}
	row := recordOf(fields).row(line, u.options.Username)
	for _, g := range row.Groups {
		if _, known := u.groups[g]; !known && number(g) {
			u.waiting = append(u.waiting, row)
			return nil
		}
	}
	return u.tell(Django)(u.named(row))
}

// look wants of the first object what a table's first line would name.
func (u *users) look(r record, line int) error {
	if u.seen {
		return nil
	}
	u.seen = true
	if !r.knows("password") {
		return fmt.Errorf("line %d: the object has no field for the password hash; one of %s is needed", line, strings.Join(columns["password"], ", "))
	}
	if o := u.options.Username; o != "" && !r.has(strings.ToLower(o)) {
		return fmt.Errorf("line %d: the object has no field %q for the user name", line, o)
	}
	return nil
}

func number(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// named puts the groups' names in the place of their numbers.
func (u *users) named(row Row) Row {
	for i, g := range row.Groups {
		name, known := u.groups[g]
		switch {
		case known:
			row.Groups[i] = name
		case number(g):
			row.Fault = strings.TrimSpace(row.Fault + " The groups are numbers; export them as well: manage.py dumpdata auth.group auth.user")
			return row
		}
	}
	return row
}

func (u *users) end() error {
	for _, row := range u.waiting {
		if err := u.tell(Django)(u.named(row)); err != nil {
			return err
		}
	}
	return nil
}

func recordOf(object map[string]any) record {
	r := record{text: map[string]string{}, list: map[string][]string{}}
	for name, value := range object {
		name = strings.ToLower(name)
		if list, ok := value.([]any); ok {
			r.list[name] = []string{}
			for _, v := range list {
				if natural, ok := v.([]any); ok && len(natural) == 1 {
					v = natural[0] // a natural key
				}
				r.list[name] = append(r.list[name], plain(v))
			}
			continue
		}
		r.text[name] = plain(value)
	}
	r.has = func(column string) bool {
		_, isText := r.text[column]
		_, isList := r.list[column]
		return isText || isList
	}
	return r
}

// plain returns a value as text; null is empty.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		if v {
			return "true"
		}
		return "false"
	case json.Number:
		return v.String()
	}
	b, _ := json.Marshal(v)
	return string(b)
}
