package launcher

import (
	"hash/fnv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Colors is the number of colors behind the letters of apps without an icon.
const Colors = 8

// Matches reports whether the app's name and description contain every word of the search, whatever the case and accents.
func (a App) Matches(search string) bool {
	for word := range strings.FieldsSeq(fold(search)) {
		if !strings.Contains(a.folded, word) {
			return false
		}
	}
	return true
}

// fold returns the text in lower case and without accents. The script of the dashboard does the same.
func fold(s string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(s)))
}

// letterOf returns the first letter or digit of a name in upper case, or else its first character.
func letterOf(name string) string {
	first := ""
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return strings.ToUpper(string(r))
		}
		if first == "" {
			first = string(r)
		}
	}
	return first
}

// colorOf returns the number of an app's color. It depends on the name alone, so that it stays when the list changes.
func colorOf(name string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // a hash returns no error
	return int(h.Sum32() % Colors)
}
