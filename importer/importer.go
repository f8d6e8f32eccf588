// Package importer reads users from what other systems export: a Django's dumpdata or table, a
// table of a Flask or Laravel application, an htpasswd file. It knows neither our database nor our
// rules; it finds rows, and says where each of them begins.
package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The systems that users come from.
const (
	Django   = "django"
	Flask    = "flask"
	Laravel  = "laravel"
	Htpasswd = "htpasswd"
)

// The forms of a file.
const (
	CSV  = "csv"
	JSON = "json"
)

// Row is one user as the file has it. What it holds is as it stands there, and unchecked.
type Row struct {
	// Line is where the row begins, counted from 1.
	Line int
	// ID is what the other system calls the user by; the user name where it has no ids.
	ID                    string
	Username, Name, Email string
	// Address is the whole address that Username is the beginning of; "" where it is a name of its own.
	Address string
	// Verified: the other system has verified the address.
	Verified bool
	Active   bool
	Created  time.Time
	Groups   []string
	Hash     string
	// Powers: the user is a superuser or of the staff there, which means nothing here.
	Powers bool
	// Fault is a sentence about a row that cannot be read; the rest may be empty then. It names
	// columns and never what is in them, which may be a hash or an address.
	Fault string
}

// Options say what the file is; empty ones are found out.
type Options struct {
	Source string // Django, Flask, Laravel or Htpasswd
	Format string // CSV, JSON or Htpasswd
	// Username is the column of the user name; "" for the usual ones.
	Username string
}

// File is what was found out.
type File struct {
	Source, Format string
}

// maxLine is in octets; a longer line is no export of users.
const maxLine = 1 << 20

// Read calls each for every row of the file, in its order. The error is a sentence about the file as a
// whole, or what each returned.
func Read(r io.Reader, o Options, each func(File, Row) error) error {
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
		f.Format = in.guessFormat(first, f.Source)
	}
	// A row that cannot be read tells no source.
	tell := func(source string) func(Row) error {
		if f.Source == "" {
			f.Source = source
		}
		return func(row Row) error { return each(f, row) }
	}
	switch f.Format {
	case JSON:
		return readJSON(in, o, tell)
	case Htpasswd:
		return readHtpasswd(in, tell(Htpasswd))
	case CSV:
		return readCSV(in, o, tell)
	}
	return fmt.Errorf("%q is no format that is read here: csv, json or htpasswd", f.Format)
}

// reader counts lines and refuses what is not UTF-8.
type reader struct {
	r    *bufio.Reader
	line int // of the last byte that was read
	skip int // lines before the first byte that counts
}

// errNotUTF8 says where a file is none.
func errNotUTF8(line int) error {
	return fmt.Errorf("line %d is not UTF-8: export the file as UTF-8, or convert it with iconv", line)
}

// firstByte returns the first byte that is no white space, without taking it.
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
			in.skip++
		case ' ', '\t', '\r':
		default:
			return b, in.r.UnreadByte()
		}
	}
}

// guessFormat looks at the beginning: JSON begins with a bracket, a table has a head, and a line of
// htpasswd is NAME:HASH.
func (in *reader) guessFormat(first byte, source string) string {
	if source == Htpasswd || first == '#' { // tables have no comments
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

// next returns the next line without its end.
func (in *reader) next() (string, error) {
	var text []byte
	for {
		part, err := in.r.ReadSlice('\n')
		text = append(text, part...)
		if len(text) > maxLine {
			return "", fmt.Errorf("line %d is longer than %d bytes: this is no export of users", in.skip+in.line+1, maxLine)
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
		return "", errNotUTF8(in.skip + in.line)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func readHtpasswd(in *reader, each func(Row) error) error {
	for {
		text, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		row := Row{Line: in.skip + in.line, Active: true}
		name, hash, ok := strings.Cut(text, ":")
		if !ok {
			row.Fault = "This line is not NAME:HASH."
		}
		row.ID, row.Username, row.Hash = name, name, strings.TrimSpace(hash)
		if err := each(row); err != nil {
			return err
		}
	}
}
