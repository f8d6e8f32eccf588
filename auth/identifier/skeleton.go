package identifier

import (
	"strings"
	"unicode"

	"go.mau.fi/util/confusable"
	"golang.org/x/text/unicode/norm"
)

// Skeleton returns what a canonical user name looks like: names with the same skeleton can be
// mistaken for each other (Unicode Technical Standard 39, section 4). It is for comparing only.
//
// Unlike the skeleton of the standard it folds case, because letters of other scripts look like
// Latin capitals, and knows small capitals.
func Skeleton(name string) string {
	s := name
	// A capital of the table ("O" for a zero) is folded to a letter that has an entry of its own.
	for range 4 {
		next := strings.ToLower(confusable.Skeleton(strings.Map(withoutSmallCapitals, s)))
		next = norm.NFD.String(softDotted.Replace(strings.Map(withoutSmallCapitals, next)))
		if next == s {
			break
		}
		s = next
	}
	return s
}

// softDotted removes the combining dot above a letter that already has a dot.
var softDotted = strings.NewReplacer("i\u0307", "i", "j\u0307", "j")

// withoutSmallCapitals replaces the small capitals of the phonetic alphabets by their letters. The
// table of confusables has only those that look like the small letter too.
func withoutSmallCapitals(r rune) rune {
	if l, ok := smallCapitals[r]; ok {
		return l
	}
	return r
}

var smallCapitals = pairs("ᴀaʙbᴄcᴅdᴇeꜰfɢgʜhɪiᴊjᴋkʟlᴍmɴnᴏoᴘpꞯqʀrꜱsᴛtᴜuᴠvᴡwʏyᴢzᴌlʍm")

// Lookalikes returns the skeletons that a new name must not share with another one: its own, and, for
// a name of another script in which "l" may stand for a capital i, the one with an i.
func Lookalikes(name string) []string {
	own := Skeleton(name)
	all := []string{own}
	if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) {
		asI := strings.Map(func(r rune) rune {
			if s := confusable.GetReplacement(r); s == "l" && r > unicode.MaxASCII {
				return 'i'
			}
			return r
		}, norm.NFD.String(name))
		if other := Skeleton(asI); other != own {
			all = append(all, other)
		}
	}
	return all
}
