package django

import (
	"bytes"
	"compress/zlib"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Django stores a session in Redis, from version 3.1 on, as django.core.signing.dumps makes it: a JSON
// object, often zlib-compressed, in unpadded base64url, with the time at which it was saved and a
// signature: "PAYLOAD:TIME:SIGNATURE", or ".PAYLOAD:…" if compressed.
const (
	// MaxValueSize is the largest value that is read, in bytes.
	MaxValueSize = 64 << 10
	// maxJSONSize bounds a value after decompression, in bytes.
	maxJSONSize = 64 << 10
	// maxClockSkew is how far Django's clock may be ahead of ours.
	maxClockSkew = time.Hour
	// sessionSalt separates session signatures from Django's other ones. It is the same for every
	// third-party session store: SessionBase.key_salt names the class, which they all call
	// SessionStore, and Signer appends "signer".
	sessionSalt = "django.contrib.sessions.SessionStore" + "signer"
)

// Keys verify the signatures of Django sessions.
type Keys struct{ keys [][]byte }

// ParseKeys parses Django's SECRET_KEY, or a JSON list of it and its SECRET_KEY_FALLBACKS; a key may
// contain any character, so no separator is possible. Errors never contain the value.
func ParseKeys(setting string) (Keys, error) {
	secrets := []string{setting}
	if strings.HasPrefix(setting, "[") {
		secrets = nil
		if err := json.Unmarshal([]byte(setting), &secrets); err != nil {
			return Keys{}, errors.New(`it begins with "[" but is not a JSON list of keys; write a list such as ["new key", "old key"], also for a single key that begins with "["`)
		}
	}
	if len(secrets) == 0 {
		return Keys{}, errors.New("the list has no key")
	}
	var k Keys
	for i, secret := range secrets {
		if secret == "" {
			return Keys{}, fmt.Errorf("key %d is empty", i+1)
		}
		key := sha256.Sum256([]byte(sessionSalt + secret))
		k.keys = append(k.keys, key[:])
	}
	return k, nil
}

// verify reports whether any of the keys made the signature. It compares the encoded text, as Django
// does: a signature has only one valid encoding.
func (k Keys) verify(value, signature []byte) bool {
	for _, key := range k.keys {
		m := hmac.New(sha256.New, key)
		m.Write(value)
		if hmac.Equal(signature, base64.RawURLEncoding.AppendEncode(nil, m.Sum(nil))) {
			return true
		}
	}
	return false
}

// Session is a verified, signed-in Django session.
type Session struct {
	// UserID is the primary key of the Django user, as text.
	UserID string
	// SavedAt is when Django last wrote the session, in whole seconds.
	SavedAt time.Time
	// ExpiresAt is when the session expires unless Django saves it again, regardless of the key's TTL.
	ExpiresAt time.Time
}

// The reasons to reject a value. They are for the log only: the client is anonymous in every case.
var (
	errFormat     = errors.New("it is not a signed Django session (is the session engine django-redis-sessions? Django's cache backend pickles sessions and does not sign them)")
	errSignature  = errors.New("its signature does not match (is DJANGO_SECRET_KEY Django's SECRET_KEY?)")
	errTime       = errors.New("its timestamp is invalid or in the future")
	errExpired    = errors.New("it has expired")
	errCompressed = errors.New("it is damaged or too large")
	errJSON       = errors.New("it is not JSON (is Django's SESSION_SERIALIZER the JSONSerializer?)")
	errSignedOut  = errors.New("it is not signed in")
)

// Read verifies and decodes the value of a session that has not expired; age is Django's
// SESSION_COOKIE_AGE. Nothing is decompressed or parsed before the signature is verified, and nothing
// is ever unpickled.
func (k Keys) Read(value []byte, age time.Duration, now time.Time) (Session, error) {
	if len(value) > MaxValueSize {
		return Session{}, errFormat
	}
	end := bytes.LastIndexByte(value, ':')
	if end < 0 {
		return Session{}, errFormat
	}
	body, signature := value[:end], value[end+1:]
	if !k.verify(body, signature) {
		return Session{}, errSignature
	}
	payload, stamp, ok := bytes.Cut(body, []byte(":"))
	if !ok {
		return Session{}, errFormat
	}
	saved, ok := parseTimestamp(stamp)
	if !ok || saved.After(now.Add(maxClockSkew)) {
		return Session{}, errTime
	}
	text, err := decodePayload(payload)
	if err != nil {
		return Session{}, err
	}
	s, err := parseSession(text, saved, age)
	if err == nil && !now.Before(s.ExpiresAt) {
		return Session{}, errExpired
	}
	return s, err
}

// parseTimestamp parses Unix seconds in base62, in the order digits, capital letters, small letters.
func parseTimestamp(text []byte) (time.Time, bool) {
	// Ten digits cannot overflow an int64.
	if len(text) == 0 || len(text) > 10 {
		return time.Time{}, false
	}
	var n int64
	for _, c := range text {
		digit := strings.IndexByte(base62Digits, c)
		if digit < 0 {
			return time.Time{}, false
		}
		n = n*62 + int64(digit)
	}
	if n > maxUnix {
		return time.Time{}, false
	}
	return time.Unix(n, 0).UTC(), true
}

const base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

// decodePayload decodes a payload and decompresses it if it is marked as compressed.
func decodePayload(payload []byte) ([]byte, error) {
	packed, compressed := bytes.CutPrefix(payload, []byte("."))
	data, err := base64.RawURLEncoding.AppendDecode(nil, packed)
	if err != nil {
		return nil, errFormat
	}
	if !compressed {
		return data, nil
	}
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errCompressed
	}
	text, err := io.ReadAll(io.LimitReader(z, maxJSONSize+1))
	if err != nil || len(text) > maxJSONSize {
		return nil, errCompressed
	}
	return text, nil
}

// parseSession parses the JSON object into a map: encoding/json would accept "_AUTH_USER_ID" for a
// struct's field.
func parseSession(text []byte, saved time.Time, age time.Duration) (Session, error) {
	var fields map[string]json.RawMessage
	if !utf8.Valid(text) || json.Unmarshal(text, &fields) != nil {
		return Session{}, errJSON
	}
	// Without all three, Django itself treats the session as anonymous.
	id := jsonString(fields["_auth_user_id"])
	if id == "" || jsonString(fields["_auth_user_backend"]) == "" || jsonString(fields["_auth_user_hash"]) == "" {
		return Session{}, errSignedOut
	}
	expires, ok := parseExpiry(fields["_session_expiry"], saved, age)
	if !ok {
		return Session{}, errTime
	}
	return Session{UserID: id, SavedAt: saved, ExpiresAt: expires}, nil
}

// jsonString returns a JSON string, or "" for anything else.
func jsonString(raw json.RawMessage) string {
	if len(raw) == 0 || raw[0] != '"' {
		return ""
	}
	var s string
	_ = json.Unmarshal(raw, &s) // raw was parsed before
	return s
}

// parseExpiry parses the argument of request.session.set_expiry: seconds, or since Django 4.1 a time.
// A missing value, null and 0 stand for age.
func parseExpiry(raw json.RawMessage, saved time.Time, age time.Duration) (time.Time, bool) {
	if s := jsonString(raw); s != "" {
		return parseTime(s)
	}
	if len(raw) == 0 || string(raw) == "null" {
		return saved.Add(age), true
	}
	var seconds float64
	if json.Unmarshal(raw, &seconds) != nil || seconds < 0 || seconds > math.MaxInt32 {
		return time.Time{}, false
	}
	if seconds == 0 {
		return saved.Add(age), true
	}
	return saved.Add(time.Duration(seconds) * time.Second), true
}

// westernmostOffset is the offset of the time zone that is furthest behind UTC.
const westernmostOffset = 12 * time.Hour

// parseTime parses Python's datetime.isoformat. A time without a zone is in Django's zone, which is
// unknown here: the latest possible moment counts, and the key's TTL ends the session in time.
func parseTime(s string) (time.Time, bool) {
	if at, err := time.Parse("2006-01-02T15:04:05Z07:00", s); err == nil {
		return at.UTC(), true
	}
	at, err := time.Parse("2006-01-02T15:04:05", s)
	return at.Add(westernmostOffset), err == nil
}
