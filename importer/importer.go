// Package importer reads users from the exports of other systems: Django's dumpdata or its user table, the user table of
// a Flask or Laravel application, or an htpasswd file. It returns rows with their line numbers, and knows neither the
// database nor the rules for users.
package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// The systems that users come from.
const (
	Django   = "django"
	Flask    = "flask"
	Laravel  = "laravel"
	Htpasswd = "htpasswd" // a format too
)

// The formats of an export.
const (
	CSV  = "csv"
	JSON = "json"
)

// Row is one user of an export. Its values are not validated.
type Row struct {
	// Line is where the row begins, counted from 1.
	Line int
	// ID identifies the user in the other system. It is the address or the user name if the export has no ids.
	ID                    string
	Username, Name, Email string
	// Address is the email address whose part before the @ is Username; "" if the export has a user name.
	Address string
	// Verified means that the other system has verified the email address.
	Verified bool
	Active   bool
	Created  time.Time
	Groups   []string
	Hash     string
	// Privileged means that the user is a superuser or staff in the other system, which grants nothing here.
	Privileged bool
	// Problem describes why the row cannot be read, or is "". The other fields may be empty then. It names
	// columns but never quotes their values, which may be a hash or an address.
	Problem string
}

// Options describe the export. Read detects the source and the format if they are empty.
type Options struct {
	Source string // Django, Flask, Laravel or Htpasswd
	Format string // CSV, JSON or Htpasswd
	// Username is the column of the user name; "" for the usual ones.
	Username string
}

// File is the source and the format that Read detected.
type File struct {
	Source, Format string
}

// maxLineBytes is the maximum length of a line; a longer one is not in an export of users.
const maxLineBytes = 1 << 20

// Read calls handle for every row of the export in order. The error is about the whole file, or the one that handle
// returned.
func Read(r io.Reader, o Options, handle func(File, Row) error) error {
	in := &reader{r: bufio.NewReaderSize(r, 64<<10)}
	if start, _ := in.r.Peek(3); bytes.Equal(start, []byte("\uFEFF")) {
		_, _ = in.r.Discard(3)
	}
	first, err := in.firstByte()
	if err != nil {
		return err
	}
	f := File{o.Source, o.Format}
	if f.Format == "" {
		f.Format = in.detectFormat(first, f.Source)
	}
	// The source is "" for a row that does not reveal it.
	rowsOf := func(source string) func(Row) error {
		if f.Source == "" {
			f.Source = source
		}
		return func(row Row) error { return handle(f, row) }
	}
	switch f.Format {
	case JSON:
		return readJSON(in, o, rowsOf)
	case Htpasswd:
		return readHtpasswd(in, rowsOf(Htpasswd))
	case CSV:
		return readCSV(in, o, rowsOf)
	}
	return fmt.Errorf("unknown format %q: use csv, json or htpasswd", f.Format)
}

// reader reads lines, counts them, and rejects those that are not UTF-8.
type reader struct {
	r       *bufio.Reader
	line    int // lines read so far
	skipped int // blank lines before them
}

func errNotUTF8(line int) error {
	return fmt.Errorf("line %d is not UTF-8: export the file as UTF-8, or convert it with iconv", line)
}

// firstByte returns the first byte that is not white space without consuming it.
func (in *reader) firstByte() (byte, error) {
	for {
		b, err := in.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return 0, errors.New("the file is empty")
		}
		if err != nil {
			return 0, fmt.Errorf("read the file: %w", err)
		}
		switch b {
		case '\n':
			in.skipped++
		case ' ', '\t', '\r':
		default:
			return b, in.r.UnreadByte()
		}
	}
}

// detectFormat looks at the beginning of the file: JSON begins with a bracket, and htpasswd with NAME:HASH or a comment,
// which CSV does not have.
func (in *reader) detectFormat(first byte, source string) string {
	if source == Htpasswd || first == '#' {
		return Htpasswd
	}
	if first == '[' || first == '{' {
		return JSON
	}
	start, _ := in.r.Peek(4096)
	line, _, _ := bytes.Cut(start, []byte("\n"))
	name, hash, ok := bytes.Cut(line, []byte(":"))
	if ok && !bytes.ContainsAny(name, ",;\t") && (bytes.HasPrefix(hash, []byte("$")) || bytes.HasPrefix(hash, []byte("{"))) {
		return Htpasswd
	}
	return CSV
}

// next returns the next line without its line ending.
func (in *reader) next() (string, error) {
	var text []byte
	for {
		part, err := in.r.ReadSlice('\n')
		text = append(text, part...)
		if len(text) > maxLineBytes {
			return "", fmt.Errorf("line %d is longer than %d bytes: this is not an export of users", in.skipped+in.line+1, maxLineBytes)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && (len(text) == 0 || !errors.Is(err, io.EOF)) {
			return "", err
		}
		break
	}
	in.line++
	if !utf8.Valid(text) {
		return "", errNotUTF8(in.skipped + in.line)
	}
	return string(bytes.TrimRight(text, "\r\n")), nil
}
