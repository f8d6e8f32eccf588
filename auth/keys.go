package auth

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// MinSecret is the shortest SECRET_KEY, in bytes after decoding.
const MinSecret = 32

// Keys are the secrets behind SECRET_KEY: the first signs, all of them verify, so that a
// key can be replaced without sending anybody away.
type Keys struct {
	secrets [][]byte
}

// ParseKeys reads SECRET_KEY: base64 (standard or URL alphabet, padded or not),
// several separated by commas. Its errors never hold the value.
func ParseKeys(setting string) (Keys, error) {
	var k Keys
	for i, part := range strings.Split(setting, ",") {
		secret, err := decodeBase64(strings.TrimSpace(part))
		if err != nil {
			return Keys{}, fmt.Errorf("key %d is not base64", i+1)
		}
		if len(secret) < MinSecret {
			return Keys{}, fmt.Errorf("key %d has %d bytes; at least %d are needed", i+1, len(secret), MinSecret)
		}
		k.secrets = append(k.secrets, secret)
	}
	return k, nil
}

// NewSecret returns a fresh value for SECRET_KEY.
func NewSecret() string {
	b := make([]byte, MinSecret)
	_, _ = rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return base64.StdEncoding.EncodeToString(b)
}

func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if b, err := base64.RawStdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.RawURLEncoding.DecodeString(s)
}

// sign returns the HMAC-SHA-256 of the fields under a key derived (HKDF, RFC 5869) from
// the first secret for this purpose alone.
func (k Keys) sign(purpose string, fields ...string) []byte {
	return mac(k.secrets[0], purpose, fields)
}

// verify reports whether any of the secrets made the signature.
func (k Keys) verify(signature []byte, purpose string, fields ...string) bool {
	for _, s := range k.secrets {
		if hmac.Equal(signature, mac(s, purpose, fields)) {
			return true
		}
	}
	return false
}

func mac(secret []byte, purpose string, fields []string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse "+purpose, sha256.Size)
	if err != nil {
		panic(err) // only for impossible lengths
	}
	m := hmac.New(sha256.New, key)
	for _, f := range fields {
		// Each field with its length before it, so that no two lists of fields are one text.
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		m.Write(n[:])
		m.Write([]byte(f))
	}
	return m.Sum(nil)
}

// AccountKey returns what failed sign-ins under a canonical name are counted under. The name is
// not in it: what was typed there may be a password in the wrong field, and must not be kept.
func (k Keys) AccountKey(name string) string {
	return "account:" + base64.RawURLEncoding.EncodeToString(k.sign("throttled account", name))
}

// Browser is a browser in which a user signed in before. It has its own allowance of
// sign-in attempts, so that strangers who guess at an account cannot lock its owner out
// (OWASP, "Slow Down Online Guessing Attacks with Device Cookies").
type Browser struct {
	id string
}

const browserPurpose = "known browser"

// Known reports whether the cookie value was issued by us for this user name.
func (k Keys) Known(cookie, username string) (Browser, bool) {
	id, signature, err := splitBrowser(cookie)
	if err != nil || !k.verify(signature, browserPurpose, id, username) {
		return Browser{}, false
	}
	return Browser{id: id}, true
}

// NewBrowser returns a cookie value that makes the browser known for this user name. It is
// no sign-in: it only says that there was one.
func (k Keys) NewBrowser(username string) string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	id := base64.RawURLEncoding.EncodeToString(b)
	return id + "." + base64.RawURLEncoding.EncodeToString(k.sign(browserPurpose, id, username))
}

func splitBrowser(cookie string) (id string, signature []byte, err error) {
	if len(cookie) != 22+1+43 {
		return "", nil, errors.New("not a browser cookie")
	}
	id, s, ok := strings.Cut(cookie, ".")
	if !ok {
		return "", nil, errors.New("not a browser cookie")
	}
	signature, err = base64.RawURLEncoding.DecodeString(s)
	return id, signature, err
}
