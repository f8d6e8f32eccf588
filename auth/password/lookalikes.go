package password

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// publishedPasswords are examples from widely read advice about passwords, as letters and digits. Attackers try them with
// any separators.
var publishedPasswords = []string{
	"correcthorsebatterystaple", "tr0ub4dor3", "tr0ub4dour3", "troub4dor3", "troubador3", "troubadour3", // xkcd 936
}

// isPublished reports whether a folded password is a published example, with at most a few more letters or digits.
func isPublished(folded string) bool {
	plain := strings.Map(func(r rune) rune {
		if isMark(r) {
			return -1
		}
		return r
	}, folded)
	for _, example := range publishedPasswords {
		if strings.Contains(plain, example) && utf8.RuneCountInString(plain)-len(example) < 4 {
			return true
		}
	}
	return false
}

const (
	// substitutes stand for letters in passwords that have to contain digits and symbols.
	substitutes = "0134578@$!|+"
	// maxSubstituted is the length of a single word with substitutions and a tail, in characters.
	maxSubstituted = 14
)

// isSubstitutedWord reports whether a password looks like one word with digits or symbols in place of letters, and perhaps
// a few more at the end, as in "P4ncak3s&7". The estimator knows such words if they are on its lists, spelled as there; it
// takes any other one for random letters, although attackers try them early (Weir et al., CCS 2010).
func isSubstitutedWord(password string) bool {
	if utf8.RuneCountInString(password) > maxSubstituted {
		return false
	}
	word := strings.TrimRightFunc(password, func(r rune) bool { return !unicode.IsLetter(r) })
	letters, substituted := 0, 0
	for i, r := range word {
		switch {
		case unicode.IsLower(r), i == 0 && unicode.IsUpper(r):
			letters++
		case i > 0 && strings.ContainsRune(substitutes, r):
			substituted++
		default:
			return false // such as a separator, or a capital letter inside
		}
	}
	return substituted > 0 && letters >= 2*substituted
}
