package auth

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

// Keys are the secrets of SECRET_KEY: the first one signs and all of them verify, so that a key can be
// rotated without signing anyone out.
type Keys struct {
	secrets [][]byte
	// derived are the keys of each purpose, in the order of the secrets, derived once because that costs
	// more than using them.
	derived map[string][]*macKey
}

// MinSecretBytes is the shortest SECRET_KEY, in bytes after decoding.
const MinSecretBytes = 32

// The purposes that keys are derived for.
const (
	devicePurpose     = "known browser"
	accountPurpose    = "throttled account"
	failurePurpose    = "failed sign-in"
	credentialPurpose = "credential cache"
	throttlePurpose   = "waiting program"
	flightPurpose     = "attempt under way"
)

var purposes = []string{devicePurpose, accountPurpose, failurePurpose, credentialPurpose, throttlePurpose, flightPurpose}

// ParseKeys parses SECRET_KEY: comma-separated secrets in base64 (standard or URL alphabet, padded or
// not). Errors never contain the value.
func ParseKeys(setting string) (Keys, error) {
	var secrets [][]byte
	for i, part := range strings.Split(setting, ",") {
		secret, err := decodeBase64(strings.TrimSpace(part))
		if err != nil {
			return Keys{}, fmt.Errorf("key %d is not base64", i+1)
		}
		if len(secret) < MinSecretBytes {
			return Keys{}, fmt.Errorf("key %d has %d bytes; at least %d are needed", i+1, len(secret), MinSecretBytes)
		}
		secrets = append(secrets, secret)
	}
	return newKeys(secrets...), nil
}

// NewSecretKey returns a new random value for SECRET_KEY.
func NewSecretKey() string {
	b := make([]byte, MinSecretBytes)
	_, _ = rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return base64.StdEncoding.EncodeToString(b)
}

func newKeys(secrets ...[]byte) Keys {
	k := Keys{secrets: secrets, derived: make(map[string][]*macKey)}
	for _, purpose := range purposes {
		for _, secret := range secrets {
			k.derived[purpose] = append(k.derived[purpose], newMacKey(derive(secret, purpose)))
		}
	}
	return k
}

func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if b, err := base64.RawStdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.RawURLEncoding.DecodeString(s)
}

// derive returns the key of a secret for one purpose (HKDF, RFC 5869).
func derive(secret []byte, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse "+purpose, sha256.Size)
	if err != nil {
		panic(err) // only for impossible lengths
	}
	return key
}

// sign returns the HMAC-SHA-256 of the fields under the purpose's key of the first secret.
func (k Keys) sign(purpose string, fields ...string) []byte {
	return k.derived[purpose][0].mac(fields)
}

// verify reports whether any of the secrets made the signature.
func (k Keys) verify(signature []byte, purpose string, fields ...string) bool {
	for _, key := range k.derived[purpose] {
		if hmac.Equal(signature, key.mac(fields)) {
			return true
		}
	}
	return false
}

// AccountKey returns the rate-limit key of a canonical name. It does not contain the name, which may be a
// password in the wrong field and must not be stored.
func (k Keys) AccountKey(name string) string { return k.accountKeys(name)[0] }

// accountKeys returns the AccountKey under each secret, the signing one first. Attempts count under all of
// them, so that a count survives a rotation, even while servers have different secrets.
func (k Keys) accountKeys(name string) []string {
	macs := k.signAll(accountPurpose, name)
	keys := make([]string, len(macs))
	for i, mac := range macs {
		keys[i] = "account:" + base64.RawURLEncoding.EncodeToString(mac)
	}
	return keys
}

// failures returns the fingerprint of a failed sign-in under each secret, for the same reason.
func (k Keys) failures(login, network string, tried ...string) []FailureFingerprint {
	keys := k.signAll(failurePurpose, "key", login, network)
	marks := k.signAll(failurePurpose, append([]string{"mark", login, network}, tried...)...)
	failures := make([]FailureFingerprint, len(keys))
	for i := range keys {
		failures[i] = FailureFingerprint{
			Key:    "failures:" + base64.RawURLEncoding.EncodeToString(keys[i]),
			Digest: base64.RawURLEncoding.EncodeToString(marks[i]),
		}
	}
	return failures
}

// signAll returns the signatures of the fields under each secret, the signing one first.
func (k Keys) signAll(purpose string, fields ...string) [][]byte {
	keys := k.derived[purpose]
	macs := make([][]byte, len(keys))
	for i, key := range keys {
		macs[i] = key.mac(fields)
	}
	return macs
}

// macKey computes HMAC-SHA-256 under one key. Each Basic request takes two, and initializing the key's
// state costs more than the MAC.
type macKey struct{ states sync.Pool }

// macState serves one computation at a time.
type macState struct {
	hash hash.Hash
	text []byte
}

func newMacKey(key []byte) *macKey {
	return &macKey{sync.Pool{New: func() any { return &macState{hash: hmac.New(sha256.New, key)} }}}
}

func (k *macKey) mac(fields []string) []byte {
	state := k.states.Get().(*macState)
	defer k.states.Put(state)
	state.text = state.text[:0]
	for _, f := range fields {
		// Each field is prefixed with its length, so that no two lists of fields have the same text.
		state.text = binary.BigEndian.AppendUint64(state.text, uint64(len(f)))
		state.text = append(state.text, f...)
	}
	state.hash.Reset()
	state.hash.Write(state.text)
	clear(state.text) // a password may be among them
	return state.hash.Sum(nil)
}
