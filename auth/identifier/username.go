// Package identifier validates the names that people and administrators choose, and returns their
// canonical form: usernames, email addresses, display names, groups and permissions. It knows no
// storage or HTTP, and does not decide whether a name is taken.
package identifier

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// Limits of names, in code points unless said otherwise.
const (
	MinUsername    = 2
	MaxUsername    = 64
	MaxDisplayName = 100
	// MaxEmail is in bytes: RFC 5321, section 4.5.3.1.3, less the angle brackets.
	MaxEmail = 254
	// MaxSearch is the maximum length of a search text: that of the longest field.
	MaxSearch = MaxEmail
	// maxRawInput is in bytes; longer input is refused without normalizing it.
	maxRawInput = 4096
)

// CanonicalUsername returns the form of a user name under which it is stored, looked up,
// cached and throttled: PRECIS UsernameCaseMapped (RFC 8265, section 3.3), so that
// "Alice", "alice" and full-width "Ａｌｉｃｅ" are one name. The error is a message for people.
func CanonicalUsername(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return "", userMessage("Enter a user name.")
	}
	if len(raw) > maxRawInput {
		return "", userMessage(fmt.Sprintf("Use at most %d characters.", MaxUsername))
	}
	if !utf8.ValidString(raw) {
		return "", userMessage("Some characters are damaged; type the name again.")
	}
	name, err := mapped(raw)
	if err != nil {
		return "", userMessage("Use letters, digits, dots, hyphens and underscores.")
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r) {
			return "", userMessage("Use letters, digits, dots, hyphens and underscores.")
		}
	}
	if first, _ := utf8.DecodeRuneInString(name); !unicode.IsLetter(first) && !unicode.IsDigit(first) {
		return "", userMessage("Begin with a letter or a digit.")
	}
	// Mapping changes the length (a letter and its accent become one), so the stored form is checked.
	if n := utf8.RuneCountInString(name); n > MaxUsername {
		return "", userMessage(fmt.Sprintf("Use at most %d characters.", MaxUsername))
	}
	return name, nil
}

// mapped returns the PRECIS form of the name. Most names already have it, and API clients send theirs with every
// request.
func mapped(raw string) (string, error) {
	for i := range len(raw) {
		if c := raw[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return precis.UsernameCaseMapped.String(raw)
		}
	}
	return raw, nil
}

// NewUsername is CanonicalUsername with the additional rules for names that users choose: long enough, not reserved, not
// of mixed scripts.
func NewUsername(raw string) (string, error) {
	name, err := CanonicalUsername(raw)
	if err != nil {
		return "", err
	}
	if n := utf8.RuneCountInString(name); n < MinUsername {
		return "", userMessage(fmt.Sprintf("Use at least %d characters (this has %d).", MinUsername, n))
	}
	if IsReserved(name) {
		return "", userMessage("This name is reserved; choose another one.")
	}
	if mixesScripts(name) {
		return "", userMessage("Letters of different alphabets can't be mixed in one name.")
	}
	return name, nil
}

// IsReserved reports whether a name is, or looks like, one of the reserved names.
func IsReserved(name string) bool {
	plain := strings.Map(withoutSeparators, latinLookalike(name))
	if strings.Contains(plain, "1") {
		plain = strings.Map(asOne, plain)
	}
	return reserved[plain] || slices.ContainsFunc(Lookalikes(strings.Map(withoutSeparators, name)), func(s string) bool {
		return reservedLooks()[look(s)]
	})
}

// look returns the form in which reserved names are compared: the skeleton, with digits replaced by the letters they stand
// for.
func look(skeleton string) string { return Skeleton(latinLookalike(skeleton)) }

var reservedLooks = sync.OnceValue(func() map[string]bool {
	looks := make(map[string]bool)
	for name := range reserved {
		if strings.Contains(name, "1") {
			continue // "mall" is a name, although it looks like "ma1l"
		}
		looks[look(Skeleton(name))] = true
	}
	return looks
})

// asOne replaces the two letters that a one stands for.
func asOne(r rune) rune {
	if r == 'i' || r == 'l' {
		return '1'
	}
	return r
}

func withoutSeparators(r rune) rune {
	if strings.ContainsRune("._-", r) {
		return -1
	}
	return r
}

// reserved holds the names that suggest the operator or a machine (RFC 2142 and common practice), compared without
// separators, each also with ones for i and l.
var reserved = withOnes(`abuse admin administrator admins anonymous api auth billing contact everyone
	gatehouse guest help helpdesk hostmaster info login logout mail me moderator nobody noreply
	null official operator owner password postmaster register root security staff support sysadmin
	sysop system team undefined user username users webmaster www`)

func withOnes(words string) map[string]bool {
	return setOf(words + " " + strings.Map(asOne, words))
}

func setOf(words string) map[string]bool {
	set := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

// scripts that are written together in one language: the "highly restrictive" level of
// Unicode Technical Standard 39, section 5.2.
var allowedTogether = []map[string]bool{
	setOf("Latin Han Hiragana Katakana"),
	setOf("Latin Han Bopomofo"),
	setOf("Latin Han Hangul"),
}

// mixesScripts reports whether a name has letters of scripts that are not used together,
// the usual way to imitate another user's name.
func mixesScripts(name string) bool {
	found := make(map[string]bool)
	for _, r := range name {
		if unicode.In(r, unicode.Common, unicode.Inherited) {
			continue
		}
		found[scriptOf(r)] = true
	}
	if len(found) <= 1 {
		return false
	}
	for _, together := range allowedTogether {
		if subset(found, together) {
			return false
		}
	}
	return true
}

func scriptOf(r rune) string {
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return "Unknown"
}

func subset(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// latinLookalike replaces letters and digits that look like a small Latin letter, so that
// a reserved name is not free in Cyrillic or with zeros.
func latinLookalike(name string) string {
	return strings.Map(func(r rune) rune {
		if l, ok := lookalikes[r]; ok {
			return l
		}
		return r
	}, name)
}

var lookalikes = pairs("аaеeоoрpсcуyхxіiјjѕsԁdһhӏlвbнhкkмmтtгrпnиu" + "αaοoρpνvιiκkτtυuηn" + "0o3e4a5s7t" + "ıiɑaɡg")

func pairs(s string) map[rune]rune {
	m := make(map[rune]rune)
	rs := []rune(s)
	for i := 0; i+1 < len(rs); i += 2 {
		m[rs[i]] = rs[i+1]
	}
	return m
}
