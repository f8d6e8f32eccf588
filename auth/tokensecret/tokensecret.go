// Package tokensecret makes and checks the secrets of API tokens: a prefix, 32 random characters of base62 and a checksum.
package tokensecret

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash/crc32"
	"math/big"
	"strings"
)

// Prefix begins every API token, so that secret scanners and people recognize it.
const Prefix = "gatehouse_"

const (
	// randomLength characters of base62 hold 190 bits.
	randomLength = 32
	// checksumLength characters of base62 hold a CRC-32, so that a mistyped token is refused without a
	// lookup. It detects mistakes, not attacks.
	checksumLength = 6
	// hintLength characters of both ends are in Hint.
	hintLength = 4
	base62     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// New returns a new random secret.
func New() string {
	var b strings.Builder
	b.WriteString(Prefix)
	for range randomLength {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(base62))))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		b.WriteByte(base62[n.Int64()])
	}
	b.WriteString(checksum(b.String()))
	return b.String()
}

// ID returns the unpadded base64url of the SHA-256 of a secret; false for a text that is not one.
func ID(secret string) (string, bool) {
	if len(secret) != len(Prefix)+randomLength+checksumLength || !strings.HasPrefix(secret, Prefix) {
		return "", false
	}
	body := secret[:len(secret)-checksumLength]
	if checksum(body) != secret[len(body):] {
		return "", false
	}
	h := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(h[:]), true
}

// Hint returns "gatehouse_4kQz…b7Xw", the first four of the random characters and the last four of the checksum. It
// leaves at least 142 of the 190 random bits unknown: four characters of base62 are 23.8 bits, and as many of a checksum
// of the secret tell at most as much about it.
func Hint(secret string) string {
	return secret[:len(Prefix)+hintLength] + "…" + secret[len(secret)-hintLength:]
}

// checksum returns the CRC-32 (IEEE) of s in base62, padded on the left.
func checksum(s string) string {
	n := crc32.ChecksumIEEE([]byte(s))
	var out [checksumLength]byte
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out[:])
}
