// Package mac reads secrets, derives keys from them, one for each purpose, and computes HMAC-SHA-256 under those.
package mac

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// MinSecretBytes is the length of the shortest secret, in bytes after decoding.
const MinSecretBytes = 32

// ParseSecrets parses comma-separated secrets in base64 (standard or URL alphabet, padded or not). Errors never contain
// the value.
func ParseSecrets(setting string) (secrets [][]byte, err error) {
	for i, part := range strings.Split(setting, ",") {
		secret, err := decodeBase64(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("key %d is not base64", i+1)
		}
		if len(secret) < MinSecretBytes {
			return nil, fmt.Errorf("key %d has %d bytes; at least %d are needed", i+1, len(secret), MinSecretBytes)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// NewSecret returns a new random secret in base64.
func NewSecret() string {
	b := make([]byte, MinSecretBytes)
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

// Key computes HMAC-SHA-256 under one key. Each Basic request takes two, and initializing the key's
// state costs more than the MAC.
type Key struct{ states sync.Pool }

// state serves one computation at a time.
type state struct {
	hash hash.Hash
	text []byte
}

// Derive returns the key of a secret for one purpose (HKDF, RFC 5869).
func Derive(secret []byte, purpose string) *Key {
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse "+purpose, sha256.Size)
	if err != nil {
		panic(err) // only for impossible lengths
	}
	return &Key{sync.Pool{New: func() any { return &state{hash: hmac.New(sha256.New, key)} }}}
}

// Sum returns the MAC of the fields.
func (k *Key) Sum(fields []string) []byte {
	s := k.states.Get().(*state)
	defer k.states.Put(s)
	s.text = s.text[:0]
	for _, f := range fields {
		// Each field is prefixed with its length, so that no two lists of fields have the same text.
		s.text = binary.BigEndian.AppendUint64(s.text, uint64(len(f)))
		s.text = append(s.text, f...)
	}
	s.hash.Reset()
	s.hash.Write(s.text)
	clear(s.text) // a password may be among them
	return s.hash.Sum(nil)
}
