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
	bad  bool
	tail []byte // of a rune that may go on
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
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size <= 1 {
			if !last && !utf8.FullRune(text) {
				break
			}
			c.bad = true
			break
		}
		text = text[size:]
	}
	c.tail = append([]byte(nil), text...)
	if c.bad {
		c.tail = nil
	}
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
	text := &counting{r: in.r}
	d := json.NewDecoder(text)
	d.UseNumber()
	before := in.skip
	list := false
	if first, _ := in.r.Peek(1); bytes.Equal(first, []byte("[")) {
		list = true
		if _, err := d.Token(); err != nil {
			return jsonError(err, text, before)
		}
	}
	u := &users{options: o, tell: tell, groups: map[string]string{}}
	for d.More() {
		// InputOffset is the end of what was read; what follows is white space, a comma, the object.
		var raw json.RawMessage
		from := d.InputOffset()
		if err := d.Decode(&raw); err != nil {
			return jsonError(err, text, before)
		}
		start := max(from, d.InputOffset()-int64(len(raw)))
		if text.bad {
			return errors.New("the file is not UTF-8: export it as UTF-8, or convert it with iconv")
		}
		if err := u.add(raw, text.line(start, &before)); err != nil {
			return err
		}
	}
	if list {
		if _, err := d.Token(); err != nil {
			return jsonError(err, text, before)
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows after the list")
	}
	return u.end()
}

func jsonError(err error, text *counting, before int) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("line %d: this is not JSON: %w", text.line(syntax.Offset, &before), err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle: it is not the whole export")
	}
	return err
}

// users turns objects into rows. A Django names groups by numbers, and may tell their names later.
type users struct {
	options Options
	tell    func(string) func(Row) error
	each    func(Row) error
	groups  map[string]string // names by number
	waiting []Row             // whose groups are numbers without a name so far
}

// dumped is an object of Django's dumpdata.
type dumped struct {
	Model  string
	PK     any
	Fields map[string]any
}

func (u *users) add(raw json.RawMessage, line int) error {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&object); err != nil || object == nil {
		return u.send(Flask, Row{Line: line, Fault: "This is not an object with the fields of a user."})
	}
	model, isDump := object["model"].(string)
	fields, hasFields := object["fields"].(map[string]any)
	if !isDump || !hasFields {
		r := recordOf(object)
		if u.each == nil && !r.knows("password") {
			return fmt.Errorf("line %d: the object has no field for the password hash; one of %s is needed", line, strings.Join(columns["password"], ", "))
		}
		return u.send(sourceOf(r), r.row(line, u.options.Username))
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
	return u.send(Django, u.named(row))
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

func (u *users) send(source string, row Row) error {
	if u.each == nil {
		u.each = u.tell(source)
	}
	return u.each(row)
}

func (u *users) end() error {
	for _, row := range u.waiting {
		if err := u.send(Django, u.named(row)); err != nil {
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
