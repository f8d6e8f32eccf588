package identifier

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// CanonicalDisplayName returns a person's name: NFC, trimmed, one line, no control or bidirectional
// override characters. Empty stays empty. The error is a message for people.
func CanonicalDisplayName(raw string) (string, error) {
	if len(raw) > maxRawInput {
		return "", userMessage(fmt.Sprintf("Use at most %d characters.", MaxDisplayName))
	}
	name := strings.Join(strings.Fields(norm.NFC.String(raw)), " ")
	if !cleanText(raw) || name != "" && !strings.ContainsFunc(name, visible) {
		return "", userMessage("Some characters can't be used in a name; type it again.")
	}
	if utf8.RuneCountInString(name) > MaxDisplayName {
		return "", userMessage(fmt.Sprintf("Use at most %d characters.", MaxDisplayName))
	}
	return name, nil
}

// cleanText reports whether s is valid UTF-8 without control characters and without
// the format characters that reorder or hide the text around them (Unicode TR 36, 2.3).
func cleanText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case unicode.IsControl(r) && r != '\t',
			r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x200E, r == 0x200F, r == 0x061C,
			r == 0xFEFF, r == 0x2028, r == 0x2029, r >= 0xE0000 && r <= 0xE007F, unicode.Is(unicode.Co, r):
			return false
		}
	}
	return true
}

// invisible reports whether a character has no visible form.
func invisible(r rune) bool {
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Variation_Selector, r)
}

func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !invisible(r) }

// userMessage is an error whose text is meant for the person at the form.
type userMessage string

func (s userMessage) Error() string { return string(s) }
