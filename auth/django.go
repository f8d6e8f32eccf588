package auth

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

// What Django keeps of a session in Redis, from Django 3.1 on (django.core.signing.dumps): an
// object as JSON, often zlib-compressed, in unpadded base64url, with the time at which it was
// saved and a signature: "PAYLOAD:TIME:SIGNATURE", or ".PAYLOAD:…" for a compressed one.
const (
	// MaxDjangoValue is the size in octets above which a value is not read.
	MaxDjangoValue = 64 << 10
	// maxDjangoJSON bounds what a compressed value may become.
	maxDjangoJSON = 64 << 10
	// maxDjangoAhead is how far Django's clock may be ahead of ours.
	maxDjangoAhead = time.Hour
	// djangoSalt keeps a session's signature apart from those that Django makes for other
	// things. It is the same for every store of other people's packages: SessionBase.key_salt
	// names the class, which they all call SessionStore, and "signer" is Signer's.
	djangoSalt = "django.contrib.sessions.SessionStore" + "signer"
)

// DjangoKeys check the signatures of Django's sessions.
type DjangoKeys struct{ keys [][]byte }

// ParseDjangoKeys reads DJANGO_SECRET_KEY: Django's SECRET_KEY as it is, or a JSON list of it and
// its SECRET_KEY_FALLBACKS. There is no separator, because a key may hold any character. Its errors
// never hold the value.
func ParseDjangoKeys(setting string) (DjangoKeys, error) {
	secrets := []string{setting}
	if strings.HasPrefix(setting, "[") {
		secrets = nil
		if err := json.Unmarshal([]byte(setting), &secrets); err != nil {
			return DjangoKeys{}, errors.New(`it begins with "[" and is not a list of keys; write the list in JSON, as in ["new key", "old key"], and a single key that begins so too`)
		}
	}
	if len(secrets) == 0 {
		return DjangoKeys{}, errors.New("there is no key in the list")
	}
	var k DjangoKeys
	for i, secret := range secrets {
		if secret == "" {
			return DjangoKeys{}, fmt.Errorf("key %d is empty", i+1)
		}
		key := sha256.Sum256([]byte(djangoSalt + secret))
		k.keys = append(k.keys, key[:])
	}
	return k, nil
}

// signed reports whether any of the keys made the signature. The text is compared, not what it
// decodes to, as Django does: one signature has one spelling.
func (k DjangoKeys) signed(value, signature []byte) bool {
	for _, key := range k.keys {
		m := hmac.New(sha256.New, key)
		m.Write(value)
		if hmac.Equal(signature, base64.RawURLEncoding.AppendEncode(nil, m.Sum(nil))) {
			return true
		}
	}
	return false
}

// DjangoSession is what a session of Django says of who is signed in there.
type DjangoSession struct {
	// UserID is the primary key of Django's user, as text.
	UserID string
	// SavedAt is when Django last wrote the session, in whole seconds.
	SavedAt time.Time
	// ExpiresAt is when the session ends if it is not saved again, whatever the key's TTL says.
	ExpiresAt time.Time
}

// The reasons for which a value is refused. They are for the log: a visitor is nobody, whatever it is.
var (
	errDjangoForm       = errors.New("it is not a signed session of Django (is the session engine django-redis-sessions? Django's own cache backend pickles and does not sign)")
	errDjangoSignature  = errors.New("its signature does not match (is DJANGO_SECRET_KEY that of Django?)")
	errDjangoTime       = errors.New("its time is not one, or in the future")
	errDjangoExpired    = errors.New("it has expired")
	errDjangoCompressed = errors.New("it is damaged or too large")
	errDjangoJSON       = errors.New("it is not JSON (is SESSION_SERIALIZER the JSONSerializer?)")
	errDjangoNobody     = errors.New("nobody is signed in to it")
)

// Read returns the session that a value holds, if one of the keys signed it and it has not
// expired; age is Django's SESSION_COOKIE_AGE. Nothing is decompressed or parsed before the
// signature was found good, and nothing is ever unpickled.
func (k DjangoKeys) Read(value []byte, age time.Duration, now time.Time) (DjangoSession, error) {
	if len(value) > MaxDjangoValue {
		return DjangoSession{}, errDjangoForm
	}
	end := bytes.LastIndexByte(value, ':')
	if end < 0 {
		return DjangoSession{}, errDjangoForm
	}
	body, signature := value[:end], value[end+1:]
	if !k.signed(body, signature) {
		return DjangoSession{}, errDjangoSignature
	}
	payload, stamp, ok := bytes.Cut(body, []byte(":"))
	if !ok {
		return DjangoSession{}, errDjangoForm
	}
	saved, ok := parseBase62(stamp)
	if !ok || saved.After(now.Add(maxDjangoAhead)) {
		return DjangoSession{}, errDjangoTime
	}
	text, err := djangoPayload(payload)
	if err != nil {
		return DjangoSession{}, err
	}
	s, err := parseDjango(text, saved, age)
	if err == nil && !now.Before(s.ExpiresAt) {
		return DjangoSession{}, errDjangoExpired
	}
	return s, err
}

// parseBase62 reads unix seconds in digits, capital and small letters, in this order.
func parseBase62(text []byte) (time.Time, bool) {
	// Ten digits hold more seconds than any calendar, and less than an int64.
	if len(text) == 0 || len(text) > 10 {
		return time.Time{}, false
	}
	var n int64
	for _, c := range text {
		digit := strings.IndexByte(base62, c)
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

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

// djangoPayload decodes a payload and decompresses it if it says so.
func djangoPayload(payload []byte) ([]byte, error) {
	packed, compressed := bytes.CutPrefix(payload, []byte("."))
	data, err := base64.RawURLEncoding.AppendDecode(nil, packed)
	if err != nil {
		return nil, errDjangoForm
	}
	if !compressed {
		return data, nil
	}
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errDjangoCompressed
	}
	text, err := io.ReadAll(io.LimitReader(z, maxDjangoJSON+1))
	if err != nil || len(text) > maxDjangoJSON {
		return nil, errDjangoCompressed
	}
	return text, nil
}

// parseDjango reads the object. A map and not a struct: encoding/json would take "_AUTH_USER_ID"
// for a struct's field.
func parseDjango(text []byte, saved time.Time, age time.Duration) (DjangoSession, error) {
	var fields map[string]json.RawMessage
	if !utf8.Valid(text) || json.Unmarshal(text, &fields) != nil {
		return DjangoSession{}, errDjangoJSON
	}
	// Django itself takes a session without one of the three for nobody's.
	id := djangoString(fields["_auth_user_id"])
	if id == "" || djangoString(fields["_auth_user_backend"]) == "" || djangoString(fields["_auth_user_hash"]) == "" {
		return DjangoSession{}, errDjangoNobody
	}
	expires, ok := djangoExpiry(fields["_session_expiry"], saved, age)
	if !ok {
		return DjangoSession{}, errDjangoTime
	}
	return DjangoSession{UserID: id, SavedAt: saved, ExpiresAt: expires}, nil
}

// djangoString returns a JSON string, or "" for anything else.
func djangoString(raw json.RawMessage) string {
	if len(raw) == 0 || raw[0] != '"' {
		return ""
	}
	var s string
	_ = json.Unmarshal(raw, &s) // raw was parsed before
	return s
}

// djangoExpiry reads what request.session.set_expiry left: seconds, or since Django 4.1 a time;
// none, null and 0 mean the age that is set.
func djangoExpiry(raw json.RawMessage, saved time.Time, age time.Duration) (time.Time, bool) {
	if s := djangoString(raw); s != "" {
		return djangoTime(s)
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

// lastZone is how long after UTC a time of day comes in the last zone on earth to reach it.
const lastZone = 12 * time.Hour

// djangoTime reads Python's datetime.isoformat. One without a zone is in Django's, which we do
// not know: the key's TTL ends the session in time, and here it ends when it would everywhere.
func djangoTime(s string) (time.Time, bool) {
	if at, err := time.Parse("2006-01-02T15:04:05Z07:00", s); err == nil {
		return at.UTC(), true
	}
	at, err := time.Parse("2006-01-02T15:04:05", s)
	return at.Add(lastZone), err == nil
}
