package cli

import (
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// jsonFlag is the flag of commands that list something.
type jsonFlag struct {
	JSON bool `name:"json" help:"Print JSON, with stable field names."`
}

// printList prints the items as a table with one row each, or as a JSON list of objects.
func printList[T any](c *command, f jsonFlag, items []T, head []string, row func(T) []string) error {
	if f.JSON {
		if items == nil {
			items = []T{}
		}
		return c.printJSON(items)
	}
	rows := [][]string{head}
	for _, item := range items {
		rows = append(rows, row(item))
	}
	return writeTable(c.io.Out, rows, terminalWidth(c.io.Out))
}

func (c *command) printJSON(v any) error {
	e := json.NewEncoder(c.io.Out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

const (
	// columnGap is the space between two columns.
	columnGap = 2
	// minColumn is the width to which a column may be shortened.
	minColumn = 8
)

// writeTable writes rows in aligned columns. In a terminal of the given width (0: any), it shortens the widest cells so
// that each row fits into a line.
func writeTable(w io.Writer, rows [][]string, width int) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printableCell(cell)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runewidth.StringWidth(row[i]))
		}
	}
	fitColumns(widths, width)
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += runewidth.FillRight(runewidth.Truncate(cell, widths[i], "…"), widths[i]+columnGap)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fitColumns reduces the widest columns until they fit into the width, if that is possible; 0 is any width.
func fitColumns(widths []int, width int) {
	excess := columnGap*(len(widths)-1) - width
	for _, w := range widths {
		excess += w
	}
	for ; width > 0 && excess > 0; excess-- {
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= minColumn {
			return
		}
		widths[widest]--
	}
}

// printableCell replaces the characters that would move the cursor or reverse the text.
func printableCell(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) {
			return unicode.ReplacementChar
		}
		return c
	}, s)
}

// terminalWidth returns the number of columns of the terminal that w is, or 0 if it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// minute returns a time as tables show it; "never" for none.
func minute(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

// timestamp returns a time as JSON shows it; nil for the zero time.
func timestamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
