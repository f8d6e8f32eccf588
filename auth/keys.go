package auth

import (
	"crypto/hmac"
	"encoding/base64"

	"gatehouse/auth/mac"
)

// Keys are the secrets of SECRET_KEY: the first one signs and all of them verify, so that a key can be
// rotated without signing anyone out.
type Keys struct {
	secrets [][]byte
	// derived are the keys of each purpose, in the order of the secrets, derived once because that costs
	// more than using them.
	derived map[string][]*mac.Key
}

// MinSecretBytes is the shortest SECRET_KEY, in bytes after decoding.
const MinSecretBytes = mac.MinSecretBytes

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
	secrets, err := mac.ParseSecrets(setting)
	if err != nil {
		return Keys{}, err
	}
	return newKeys(secrets...), nil
}

// NewSecretKey returns a new random value for SECRET_KEY.
func NewSecretKey() string { return mac.NewSecret() }

func newKeys(secrets ...[]byte) Keys {
	k := Keys{secrets: secrets, derived: make(map[string][]*mac.Key)}
	for _, purpose := range purposes {
		for _, secret := range secrets {
			k.derived[purpose] = append(k.derived[purpose], mac.Derive(secret, purpose))
		}
	}
	return k
}

// sign returns the HMAC-SHA-256 of the fields under the purpose's key of the first secret.
func (k Keys) sign(purpose string, fields ...string) []byte {
	return k.derived[purpose][0].Sum(fields)
}

// verify reports whether any of the secrets made the signature.
func (k Keys) verify(signature []byte, purpose string, fields ...string) bool {
	for _, key := range k.derived[purpose] {
		if hmac.Equal(signature, key.Sum(fields)) {
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
		macs[i] = key.Sum(fields)
	}
	return macs
}
