package auth

import (
	"context"
	_ "embed"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"github.com/trustelem/zxcvbn"
	"golang.org/x/text/unicode/norm"
)

// MaxPassword is the longest password accepted, in code points (ASVS 6.2.9 wants at least 64).
const MaxPassword = 128

// maxPasswordBytes caps the work of normalising: no 128 code points are longer, even
// when each is a letter with several combining marks written apart.
const maxPasswordBytes = 8 * 4 * MaxPassword

// estimated is how many code points the strength estimate looks at. Its time grows steeply
// with the length, above all where digits and signs may stand for letters; a strong beginning
// is a strong password.
const estimated = 24

// weakestGuesses: a password that falls within a million guesses is refused. It is
// zxcvbn's border between "very guessable" and "somewhat guessable" (Wheeler,
// USENIX Security 2016), and holds every common password.
const weakestGuesses = 1e6

// NormalizePassword returns the form of a password that is hashed: Unicode NFC, nothing else.
// No case folding, no truncation, no trimming (ASVS 6.2.8; NIST SP 800-63B, 3.1.1.2).
// ok is false for what no password can be: empty, too long, NUL or not UTF-8.
func NormalizePassword(raw string) (password string, ok bool) {
	if raw == "" || len(raw) > maxPasswordBytes || !utf8.ValidString(raw) || strings.ContainsRune(raw, 0) {
		return "", false
	}
	password = norm.NFC.String(raw)
	return password, utf8.RuneCountInString(password) <= MaxPassword
}

// minDistinct is how many different characters a password has at the least.
const minDistinct = 4

// PasswordPolicy decides which new passwords are accepted. Passwords that are set
// already are never measured against it.
type PasswordPolicy struct {
	// MinLength in code points.
	MinLength int
}

// Strength is what the meter shows.
type Strength struct {
	// Score is 0 to 4: zxcvbn's scale.
	Score int `json:"score"`
	// Label is one word for the score.
	Label string `json:"label"`
	// Message says why the password would be refused; empty if it would be accepted.
	Message string `json:"message"`
}

var strengthLabels = [...]string{"Very weak", "Weak", "Fair", "Good", "Strong"}

// Check returns the normal form of a new password, or a sentence that says why not.
// about holds what the person would think of first: user name, name, address.
func (p PasswordPolicy) Check(raw string, about ...string) (string, error) {
	password, _, err := p.assess(raw, about)
	return password, err
}

// assess is Check, with zxcvbn's score of what it could read.
func (p PasswordPolicy) assess(raw string, about []string) (password string, score int, err error) {
	if raw == "" {
		return "", 0, userMessage("Enter a password.")
	}
	password, ok := NormalizePassword(raw)
	if !ok {
		if !utf8.ValidString(raw) || strings.ContainsRune(raw, 0) {
			return "", 0, userMessage("Some characters are damaged; type the password again.")
		}
		return "", 0, userMessage(fmt.Sprintf("At most %d characters.", MaxPassword))
	}
	words := guessedFirst(about)
	estimate := zxcvbn.PasswordStrength(firstRunes(password, estimated), words)
	if n := utf8.RuneCountInString(password); n < p.MinLength {
		return "", estimate.Score, userMessage(fmt.Sprintf("At least %d characters: this has %d.", p.MinLength, n))
	}
	folded := foldedForGuessing(password)
	for _, w := range words {
		// The word with a few characters around it ("alice-2026") is what is tried after the word.
		if strings.Contains(folded, w) && utf8.RuneCountInString(folded)-utf8.RuneCountInString(w) < 4 {
			return "", estimate.Score, userMessage(fmt.Sprintf("Too easy to guess: it is mostly %q. Choose something that is not about you or this site.", w))
		}
	}
	// The estimate sees bytes, and takes one accented letter repeated for many.
	if distinct(password) < minDistinct || estimate.Guesses < weakestGuesses || commonPasswords()[folded] || isDatedWord(folded, words) {
		return "", estimate.Score, userMessage("Too easy to guess: it is common or follows a simple pattern. A few unrelated words make a good password.")
	}
	return password, estimate.Score, nil
}

// yearGuesses and markGuesses are how many guesses a year, and the signs around it, add to those for a
// word: the few years near today, before or after the word, with a capital or without; and the few
// signs that people use.
const (
	yearGuesses = 50
	markGuesses = 10
)

// isDatedWord reports whether a folded password is a word that is easily guessed with a year, as in
// "summer2026" or "2027-welcome!". The estimator knows years up to 2019 only, and takes a sign after
// a year for a strong addition. This holds for every year from 1900 to 2099, so that no release is needed.
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
		guesses *= markGuesses // one more is as likely as a sign
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
func (p PasswordPolicy) Strength(raw string, about ...string) Strength {
	_, score, err := p.assess(raw, about)
	s := Strength{Score: score}
	if err != nil {
		s.Message = err.Error()
		// What is refused must not look good.
		s.Score = min(score, 1)
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

// guessedFirst returns the words that an attacker who knows the person tries first.
func guessedFirst(about []string) []string {
	words := []string{AppName}
	for _, a := range about {
		for _, w := range strings.FieldsFunc(foldedForGuessing(firstRunes(a, 256)), func(r rune) bool {
			return r == ' ' || r == '@'
		}) {
			if utf8.RuneCountInString(w) >= 3 && len(words) < 12 {
				words = append(words, firstRunes(w, MaxUsername))
			}
		}
	}
	return words
}

// foldedForGuessing takes away what a guess would not differ in: case, and the width and
// form of letters.
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

// HashParams are the cost of argon2id: OWASP's first choice of 19 MiB, two passes, one
// lane (ASVS 11.4.2, Password Storage Cheat Sheet).
var HashParams = argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// Hasher hashes and checks passwords, a fixed number at once and a bounded number in the
// queue, so that a storm of sign-ins takes neither all memory nor all processors.
//
// After each hash its place stays empty for a while. A storm of sign-ins would otherwise keep its
// processors busy without a pause, and the pages' requests would have to share with it.
type Hasher struct {
	// OnHash is called for each hash that is computed; may be nil.
	OnHash func(context.Context)

	// shortest is the shortest time that a hash has taken here, in nanoseconds: what one costs
	// when nothing else disturbs it.
	shortest atomic.Int64
	// rest is how long a place stays empty, in percent of the shortest hash.
	rest   int64
	slots  chan struct{}
	queue  chan struct{}
	wait   time.Duration
	params argon2id.Params
	dummy  string
}

// NewHasher returns a Hasher that works on so many processors at once.
func NewHasher(atOnce int) (*Hasher, error) {
	h, err := newHasher(max(1, atOnce), 128, 5*time.Second, HashParams)
	if err != nil {
		return nil, err
	}
	h.rest = restPercent
	return h, nil
}

// restPercent leaves more than a third of the processors that hash to everybody else; measured on
// two cores, some 30 sign-ins a second remain.
const restPercent = 60

func newHasher(atOnce, queued int, wait time.Duration, params argon2id.Params) (*Hasher, error) {
	dummy, err := argon2id.CreateHash("a password that nobody has", &params)
	if err != nil {
		return nil, fmt.Errorf("hash the dummy password: %w", err)
	}
	return &Hasher{
		slots:  make(chan struct{}, atOnce),
		queue:  make(chan struct{}, queued+atOnce),
		wait:   wait,
		params: params,
		dummy:  dummy,
	}, nil
}

// enter waits for a place to hash. ErrBusy when the queue is full or the wait too long;
// the context's error when the client has gone.
func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	if err := h.acquire(ctx); err != nil {
		return nil, err
	}
	if h.OnHash != nil {
		h.OnHash(ctx)
	}
	begun := time.Now()
	return func() { h.leave(time.Since(begun)) }, nil
}

// estimate runs the work in a place for hashing, because the strength estimate of a password may
// cost as much as its hash. The errors are those of enter.
func (h *Hasher) estimate(ctx context.Context, work func()) error {
	if err := h.acquire(ctx); err != nil {
		return err
	}
	begun := time.Now()
	// The cooldown follows the estimate's own duration, which says nothing about that of a hash.
	defer func() { h.release(time.Since(begun) * time.Duration(h.rest) / 100) }()
	work()
	return nil
}

// acquire waits for a place.
func (h *Hasher) acquire(ctx context.Context) error {
	select {
	case h.queue <- struct{}{}:
	default:
		return ErrBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.wait, ErrBusy)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		<-h.queue
		return context.Cause(ctx)
	}
	if ctx.Err() != nil { // both were ready, and select takes either
		h.release(0)
		return context.Cause(ctx)
	}
	return nil
}

// leave gives the place of a hash free after a rest.
func (h *Hasher) leave(took time.Duration) {
	for {
		shortest := h.shortest.Load()
		if took <= 0 || shortest != 0 && int64(took) >= shortest || h.shortest.CompareAndSwap(shortest, int64(took)) {
			break
		}
	}
	h.release(time.Duration(h.shortest.Load() * h.rest / 100))
}

// release gives the place free: at once in the queue, after the cooldown for the work.
func (h *Hasher) release(cooldown time.Duration) {
	<-h.queue
	if cooldown <= 0 {
		<-h.slots
		return
	}
	time.AfterFunc(cooldown, func() { <-h.slots })
}

// Hash returns the PHC string of a normalised password.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	hash, err := argon2id.CreateHash(password, &h.params)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// Check compares a normalised password with a hash. An empty hash stands for a user who
// does not exist: the same work is done, and it never matches. outdated reports that the
// hash was made with other parameters, or by another system, and is worth replacing.
func (h *Hasher) Check(ctx context.Context, password, hash string) (match, outdated bool, err error) {
	return h.check(ctx, password, password, hash)
}

// check is Check for a password whose form as it was typed may be the one that another system
// hashed.
func (h *Hasher) check(ctx context.Context, password, typed, hash string) (match, outdated bool, err error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	if legacy, err := parseLegacyHash(hash); err == nil && !h.native(hash) {
		match := legacy(password) || typed != password && legacy(typed)
		return match, match, nil
	}
	if !checkable(hash) {
		// A hash nobody can match (set by hand, say) is a wrong password, at the same price.
		_, _, err = argon2id.CheckHash(password, h.dummy)
		return false, false, err
	}
	match, params, err := argon2id.CheckHash(password, hash)
	if err != nil {
		return false, false, fmt.Errorf("check a password: %w", err)
	}
	return match, match && *params != h.params, nil
}

// native reports whether the hash is one of ours: everything else may be of what was typed, as it was.
func (h *Hasher) native(hash string) bool {
	p, _, _, err := argon2id.DecodeHash(hash)
	return err == nil && *p == h.params
}

// checkable reports whether a stored hash is one that can be computed: argon2 panics
// without passes, lanes or a key, and takes whatever memory it is told to.
func checkable(hash string) bool {
	p, _, _, err := argon2id.DecodeHash(hash)
	return err == nil && p.Memory <= maxHashMemory && p.Iterations >= 1 && p.Iterations <= maxHashPasses && p.Parallelism >= 1 && p.KeyLength >= minHashKey
}

const (
	maxHashMemory = 1 << 20 // KiB
	maxHashPasses = 64
	minHashKey    = 16 // octets; a shorter one could be met by chance, an empty one by anything
)

// Waiting returns how many hashes run or wait.
func (h *Hasher) Waiting() int { return len(h.queue) }
