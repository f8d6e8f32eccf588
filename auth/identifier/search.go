package identifier

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// letterForms are letters whose stroke or ligature Unicode does not decompose, and what people type who have no key for
// them.
var letterForms = strings.NewReplacer("ø", "o", "ł", "l", "đ", "d", "ð", "d", "ħ", "h", "ı", "i", "æ", "ae", "œ", "oe", "þ", "th")

// FoldSearch returns the form in which the search for users compares texts: without case and accents, so that "zoe" finds
// "Zoë" and "strasse" finds "Straße". Of ASCII it changes only upper-case letters.
func FoldSearch(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	s = cases.Fold().String(norm.NFKD.String(s))
	s = strings.Map(func(r rune) rune {
		// Accents and vowel points belong to no script of their own, unlike the vowel signs of Thai or Devanagari.
		if unicode.Is(unicode.Mn, r) && unicode.Is(unicode.Inherited, r) {
			return -1
		}
		return r
	}, s)
	return norm.NFC.String(letterForms.Replace(s))
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}
