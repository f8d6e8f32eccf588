// Package password decides which passwords are accepted, and hashes and verifies them, including the
// hashes that other systems made. It knows no users, storage or HTTP.
package password

import (
	_ "embed"
	"fmt"
	"iter"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn"
	"golang.org/x/text/unicode/norm"
)

// MaxLength is the longest password accepted, in code points (ASVS 6.2.9 wants at least 64).
const MaxLength = 128

// maxBytes bounds the input of normalization: 128 code points are never longer, even if each is a letter
// with several decomposed combining marks.
const maxBytes = 8 * 4 * MaxLength

// estimated is the number of code points that the strength estimate reads. Its time grows steeply with
// the length, especially where digits and symbols may stand for letters; a password with a strong
// beginning is strong.
const estimated = 24

// weakestGuesses is the number of guesses that a password has to withstand: zxcvbn's boundary between
// "very guessable" and "somewhat guessable" (Wheeler, USENIX Security 2016), above every common password.
const weakestGuesses = 1e6

// Normalize returns the form of a password that is hashed: Unicode NFC, without case folding, truncation
// or trimming (ASVS 6.2.8; NIST SP 800-63B, 3.1.1.2). ok is false for an invalid password: empty, too
// long, with a NUL or not UTF-8.
func Normalize(raw string) (password string, ok bool) {
	if raw == "" || len(raw) > maxBytes || !utf8.ValidString(raw) || strings.ContainsRune(raw, 0) {
		return "", false
	}
	password = norm.NFC.String(raw)
	return password, utf8.RuneCountInString(password) <= MaxLength
}

// siteName is never part of a good password here.
const siteName = "gatehouse"

// maxWord is how many code points of a word about the user are compared.
const maxWord = 64

// minDistinct is the least number of different characters in a password.
const minDistinct = 4

// Policy decides which new passwords are accepted. Existing passwords are never checked against it.
type Policy struct {
	// MinLength in code points.
	MinLength int
}

// Strength is the result of the strength meter.
type Strength struct {
	// Score is 0 to 4: zxcvbn's scale.
	Score int `json:"score"`
	// Label is one word for the score.
	Label string `json:"label"`
	// Message says why the password would be refused; empty if it would be accepted.
	Message string `json:"message"`
}

// fair is the highest score of a password that looks stronger to the estimator than it is.
const fair = 2

var strengthLabels = [...]string{"Very weak", "Weak", "Fair", "Good", "Strong"}

// Check returns the normalized form of a new password, or an error with a message for people. about
// holds what the person would think of first: username, name, address.
func (p Policy) Check(raw string, about ...string) (string, error) {
	password, _, err := p.assess(raw, about)
	return password, err
}

// assess is Check, and also returns zxcvbn's score.
func (p Policy) assess(raw string, about []string) (password string, score int, err error) {
	if raw == "" {
		return "", 0, userMessage("Enter a password.")
	}
	password, ok := Normalize(raw)
	if !ok {
		if !utf8.ValidString(raw) || strings.ContainsRune(raw, 0) {
			return "", 0, userMessage("Some characters are invalid. Enter the password again.")
		}
		return "", 0, userMessage(fmt.Sprintf("Use at most %d characters.", MaxLength))
	}
	words := guessedFirst(about)
	estimate := zxcvbn.PasswordStrength(firstRunes(password, estimated), words)
	if n := utf8.RuneCountInString(password); n < p.MinLength {
		return "", estimate.Score, userMessage(fmt.Sprintf("Use at least %d characters (this has %d).", p.MinLength, n))
	}
	folded := foldedForGuessing(password)
	for _, w := range words {
		// After the word itself, attackers try it with a few characters around it ("alice-2026").
		if strings.Contains(folded, w) && utf8.RuneCountInString(folded)-utf8.RuneCountInString(w) < 4 {
			return "", estimate.Score, userMessage(fmt.Sprintf("Too easy to guess: it is mostly %q. Choose something that is not about you or this site.", w))
		}
	}
	// The estimate reads bytes, and overrates a repeated accented letter.
	if distinct(password) < minDistinct || estimate.Guesses < weakestGuesses || commonPasswords()[folded] || isDatedWord(folded, words) || isPublished(folded) {
		return "", estimate.Score, userMessage("Too easy to guess: it is common or follows a simple pattern. A few unrelated words make a good password.")
	}
	return password, estimate.Score, nil
}

// yearGuesses and markGuesses are the factors that a year, and the symbols around it, add to the guesses
// for a word: the few years near today, before or after the word, capitalized or not; and the few
// symbols that people use.
const (
	yearGuesses = 50
	markGuesses = 10
)

// isDatedWord reports whether a folded password is a weak word with a year, as in "summer2026" or
// "2027-welcome!". The estimator knows years up to 2019 only, and overrates a symbol after a year. This
// function knows every year from 1900 to 2099.
func isDatedWord(folded string, about []string) bool {
	var rest strings.Builder
	years := 0
	for part := range splitDigits(folded) {
		if isYear(part) {
			years++
			continue
		}
		rest.WriteString(part)
	}
	if years == 0 {
		return false
	}
	guesses := float64(yearGuesses)
	for range years - 1 {
		guesses *= markGuesses // another year is as likely as a symbol
	}
	word := strings.TrimFunc(rest.String(), isMark)
	if len(word) < rest.Len() {
		guesses *= markGuesses
	}
	if commonPasswords()[word] {
		return true
	}
	return zxcvbn.PasswordStrength(firstRunes(word, estimated), about).Guesses*guesses < weakestGuesses
}

// splitDigits yields the longest runs of digits and of everything else, in order.
func splitDigits(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		isDigit := func(i int) bool { return s[i] >= '0' && s[i] <= '9' }
		for begin := 0; begin < len(s); {
			end := begin + 1
			for end < len(s) && isDigit(end) == isDigit(begin) {
				end++
			}
			if !yield(s[begin:end]) {
				return
			}
			begin = end
		}
	}
}

func isYear(s string) bool { return len(s) == 4 && (s[:2] == "19" || s[:2] == "20") && isDigits(s) }

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// isMark reports whether a character is neither a letter nor a digit.
func isMark(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) }

// Strength estimates a password for the meter.
func (p Policy) Strength(raw string, about ...string) Strength {
	_, score, err := p.assess(raw, about)
	s := Strength{Score: score}
	if err != nil {
		s.Message = err.Error()
		// A refused password must not look good.
		s.Score = min(score, 1)
	} else if isSubstitutedWord(raw) {
		s.Score = min(score, fair)
	}
	s.Label = strengthLabels[s.Score]
	return s
}

func distinct(s string) int {
	seen := make(map[rune]bool)
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// guessedFirst returns the words that an attacker who knows the person would try first.
func guessedFirst(about []string) []string {
	words := []string{siteName}
	for _, a := range about {
		for _, w := range strings.FieldsFunc(foldedForGuessing(firstRunes(a, 256)), func(r rune) bool {
			return r == ' ' || r == '@'
		}) {
			if utf8.RuneCountInString(w) >= 3 && len(words) < 12 {
				words = append(words, firstRunes(w, maxWord))
			}
		}
	}
	return words
}

// foldedForGuessing removes differences that a guess would ignore: case, width and form of letters.
func foldedForGuessing(s string) string { return strings.ToLower(norm.NFKC.String(s)) }

// commonPasswordList holds the common passwords of eight characters or more, folded, that the
// estimator would accept although they are on the lists of @zxcvbn-ts/language-common 4.1.3 (49,233
// passwords, MIT) or of Django 3.2 (19,726 passwords compiled by Royce Williams, BSD). The estimator
// knows the rest.
//
//go:embed common_passwords.txt
var commonPasswordList string

var commonPasswords = sync.OnceValue(func() map[string]bool {
	set := make(map[string]bool)
	for password := range strings.Lines(commonPasswordList) {
		set[strings.TrimSuffix(password, "\n")] = true
	}
	return set
})

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// userMessage is an error whose text is meant for the person who chose the password.
type userMessage string

func (m userMessage) Error() string { return string(m) }
