package importer

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// readCSV reads a table with a header, separated by commas, semicolons or tabs.
func readCSV(in *reader, o Options, rowsOf func(source string) func(Row) error) error {
	lines := &lineReader{in: in}
	c := csv.NewReader(lines)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	first, err := lines.peek()
	if err != nil {
		return err
	}
	c.Comma = delimiter(first)
	header, err := readHeader(c, o)
	if err != nil {
		return err
	}
	table := record{has: func(column string) bool { return slices.Contains(header, column) }}
	handle := rowsOf(detectSource(table))
	for {
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			// The next row begins on the next line, however many lines this one took.
			row := Row{Line: in.skipped + wrong.StartLine, Problem: "A quoted field is not closed, or a quote inside a field is not doubled." + in.consumed(wrong.StartLine)}
			if err := handle(row); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		line, _ := c.FieldPos(0)
		if len(fields) == 1 && strings.TrimSpace(fields[0]) == "" {
			continue
		}
		row := Row{Line: in.skipped + line, Problem: fmt.Sprintf("The row has %d fields, but the header has %d.", len(fields), len(header)) + in.consumed(line)}
		if len(fields) == len(header) {
			r := record{text: make(map[string]string, len(header)), has: table.has}
			for i, field := range fields {
				r.text[header[i]] = nullToEmpty(field)
			}
			row = r.row(in.skipped+line, o.Username)
		}
		if err := handle(row); err != nil {
			return err
		}
	}
}

// readHeader returns the names of the columns in lower case.
func readHeader(c *csv.Reader, o Options) ([]string, error) {
	names, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("parse the header: %w", err)
	}
	header := make([]string, len(names))
	for i, name := range names {
		header[i] = strings.ToLower(strings.TrimSpace(name))
	}
	table := record{has: func(column string) bool { return slices.Contains(header, column) }}
	if !table.hasField("password") {
		return nil, fmt.Errorf("the header has no column for the password hash; expected one of %s", strings.Join(columns["password"], ", "))
	}
	if o.Username != "" && !table.has(strings.ToLower(o.Username)) {
		return nil, fmt.Errorf("the header has no column %q for the user name", o.Username)
	}
	return header, nil
}

// consumed returns a sentence about the last line of a bad row that begins on line first, or "" if that is its only
// line: a quote that is not closed swallows the rows below it.
func (in *reader) consumed(first int) string {
	if in.line == first {
		return ""
	}
	return fmt.Sprintf(" All lines up to %d were read as part of this row.", in.skipped+in.line)
}

// delimiter returns the comma, semicolon or tab that the header has most of.
func delimiter(header string) rune {
	best := ','
	for _, s := range ";\t" {
		if strings.Count(header, string(s)) > strings.Count(header, string(best)) {
			best = s
		}
	}
	return best
}

// nullToEmpty returns "" for the spellings of NULL in exports, of which the last is MySQL's zero time.
func nullToEmpty(s string) string {
	s = strings.TrimSpace(s)
	if s == `\N` || s == "NULL" || s == "null" || s == "None" || s == "0000-00-00 00:00:00" {
		return ""
	}
	return s
}

// lineReader is an io.Reader over the lines of a reader, each of them checked.
type lineReader struct {
	in   *reader
	left string
}

// peek returns the first line without consuming it.
func (l *lineReader) peek() (string, error) {
	text, err := l.in.next()
	l.left = text + "\n"
	return text, err
}

func (l *lineReader) Read(p []byte) (int, error) {
	if l.left == "" {
		text, err := l.in.next()
		if err != nil {
			return 0, err
		}
		l.left = text + "\n"
	}
	n := copy(p, l.left)
	l.left = l.left[n:]
	return n, nil
}
