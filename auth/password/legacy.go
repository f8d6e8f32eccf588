package password

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

// Hashes of other systems are stored unchanged when their users are imported, and replaced by argon2id at
// the first sign-in (OWASP Password Storage Cheat Sheet, "Upgrading Legacy Hashes").
//
// Every cost parameter is bounded, because the hash is untrusted input.
const (
	maxPBKDF2     = 3_000_000 // rounds; OWASP recommends 600,000 of PBKDF2-HMAC-SHA256
	maxBcryptCost = 14
	maxScryptN    = 1 << 20
	maxScrypt     = 128 << 20 // bytes: 128 × N × r
	maxScryptR    = 64
	maxScryptP    = 16
	maxLegacyText = 1024 // bytes of the stored text
	maxLegacyKey  = 128  // bytes of the digest

	maxImportMemory = 256 << 10 // KiB of argon2
	maxImportPasses = 10        // of argon2
)

// legacyHash compares a password with a hash of another system.
type legacyHash func(password string) bool

// ValidateLegacyHash returns an error with a message for people if the hash cannot be verified here.
func ValidateLegacyHash(hash string) error {
	if err := checkArgon2Import(hash); err != nil {
		return err
	}
	if isComputable(hash) {
		return nil
	}
	_, err := parseLegacyHash(hash)
	return err
}

// checkArgon2Import returns an error if an argon2 hash costs more than an imported one may. Stored hashes have
// wider bounds.
func checkArgon2Import(hash string) error {
	part := strings.Split(strings.TrimPrefix(hash, "argon2"), "$") // Django writes argon2$argon2id$…
	if len(part) != 6 || !strings.HasPrefix(part[1], "argon2") {
		return nil
	}
	cost := argon2Parameters(part[3])
	if cost["m"] <= maxImportMemory && cost["t"] <= maxImportPasses {
		return nil
	}
	passes := "1 pass"
	if cost["t"] != 1 {
		passes = fmt.Sprintf("%d passes", cost["t"])
	}
	return userMessage(fmt.Sprintf("The password hash is argon2 with %d MiB and %s; an imported one may use at most %d MiB and %d passes.",
		(cost["m"]+1023)/1024, passes, maxImportMemory/1024, maxImportPasses))
}

// argon2Parameters parses m=…,t=…,p=…; -1 for an invalid number.
func argon2Parameters(s string) map[string]int {
	value := map[string]int{}
	for p := range strings.SplitSeq(s, ",") {
		name, v, _ := strings.Cut(p, "=")
		value[name] = number(v)
	}
	return value
}

// parseLegacyHash parses the formats of Django, Werkzeug, PHP (Laravel) and htpasswd.
func parseLegacyHash(hash string) (legacyHash, error) {
	if len(hash) > maxLegacyText {
		return nil, userMessage("The password hash is longer than any supported one.")
	}
	scheme, rest, _ := strings.Cut(hash, "$")
	switch scheme {
	case "pbkdf2_sha256":
		return djangoPBKDF2(rest)
	case "scrypt":
		return djangoScrypt(rest)
	case "bcrypt":
		return parseBcrypt(rest, func(password string) string { return password })
	case "bcrypt_sha256":
		return parseBcrypt(rest, hexSHA256)
	case "argon2":
		return parseArgon2("$" + rest)
	case "":
		if strings.HasPrefix(rest, "argon2") {
			return parseArgon2(hash)
		}
		if strings.HasPrefix(rest, "2a$") || strings.HasPrefix(rest, "2b$") || strings.HasPrefix(rest, "2y$") {
			return parseBcrypt(hash, func(password string) string { return password })
		}
	}
	switch method, parameters, _ := strings.Cut(scheme, ":"); method {
	case "pbkdf2":
		return werkzeugPBKDF2(parameters, rest)
	case "scrypt":
		return werkzeugScrypt(parameters, rest)
	}
	return nil, unknownScheme(hash)
}

// unknownScheme returns an error that names the scheme and reveals nothing else of the hash.
func unknownScheme(hash string) error {
	for prefix, name := range map[string]string{
		"$apr1$": "MD5 of Apache (apr1)", "$1$": "MD5-crypt", "$5$": "SHA-256-crypt", "$6$": "SHA-512-crypt", "$y$": "yescrypt", "{SHA}": "SHA-1 of Apache", "{SSHA}": "salted SHA-1",
		"md5$": "MD5", "sha1$": "SHA-1", "pbkdf2_sha1$": "PBKDF2 with SHA-1", "unsalted_": "a hash without salt", "pbkdf2:sha1": "PBKDF2 with SHA-1", "pbkdf2:sha512": "PBKDF2 with SHA-512", "sha256$": "SHA-256", "plain$": "plain text",
	} {
		if strings.HasPrefix(hash, prefix) {
			return userMessage("The password hash is " + name + ", which is not supported.")
		}
	}
	if hash == "" || strings.HasPrefix(hash, "!") || strings.HasPrefix(hash, "*") {
		return userMessage("There is no usable password.")
	}
	return userMessage("The password hash is not of a supported kind (PBKDF2-SHA256, bcrypt, scrypt, argon2).")
}

var errDamagedHash = userMessage("The password hash is damaged.")

// boundedHash returns an error unless the cost parameters are within bounds.
func boundedHash(ok bool) error {
	if ok {
		return nil
	}
	return userMessage("The password hash has cost parameters that are too high or too low.")
}

// number parses a parameter; -1 if it is invalid.
func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || len(s) > 1 && s[0] == '0' {
		return -1
	}
	return int(n)
}

func checkPBKDF2(rounds int, salt string, want []byte) (legacyHash, error) {
	if salt == "" || len(want) != sha256.Size {
		return nil, errDamagedHash
	}
	if err := boundedHash(rounds >= 1 && rounds <= maxPBKDF2); err != nil {
		return nil, err
	}
	return func(password string) bool {
		got, err := pbkdf2.Key(sha256.New, password, []byte(salt), rounds, len(want))
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// djangoPBKDF2 reads rounds$salt$base64.
func djangoPBKDF2(rest string) (legacyHash, error) {
	part := strings.Split(rest, "$")
	if len(part) != 3 {
		return nil, errDamagedHash
	}
	want, err := base64.StdEncoding.DecodeString(part[2])
	if err != nil {
		return nil, errDamagedHash
	}
	return checkPBKDF2(number(part[0]), part[1], want)
}

// werkzeugPBKDF2 reads pbkdf2:sha256:rounds$salt$hex.
func werkzeugPBKDF2(parameters, rest string) (legacyHash, error) {
	digest, rounds, _ := strings.Cut(parameters, ":")
	if digest != "sha256" {
		return nil, unknownScheme("pbkdf2:" + digest)
	}
	if rounds == "" {
		return nil, userMessage("The password hash does not contain the number of PBKDF2 rounds, which depends on the version of Werkzeug.")
	}
	salt, text, ok := strings.Cut(rest, "$")
	want, err := hex.DecodeString(text)
	if !ok || err != nil {
		return nil, errDamagedHash
	}
	return checkPBKDF2(number(rounds), salt, want)
}

func checkScrypt(n, r, p int, salt string, want []byte) (legacyHash, error) {
	// Both systems use this length; a shorter hash was truncated.
	if salt == "" || len(want) != 64 {
		return nil, errDamagedHash
	}
	ok := n > 1 && n <= maxScryptN && bits.OnesCount(uint(n)) == 1 && r >= 1 && r <= maxScryptR && p >= 1 && p <= maxScryptP
	if err := boundedHash(ok && n*r <= maxScrypt/128); err != nil {
		return nil, err
	}
	return func(password string) bool {
		got, err := scrypt.Key([]byte(password), []byte(salt), n, r, p, len(want))
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// djangoScrypt reads N$salt$r$p$base64.
func djangoScrypt(rest string) (legacyHash, error) {
	part := strings.Split(rest, "$")
	if len(part) != 5 {
		return nil, errDamagedHash
	}
	want, err := base64.StdEncoding.DecodeString(part[4])
	if err != nil {
		return nil, errDamagedHash
	}
	return checkScrypt(number(part[0]), number(part[2]), number(part[3]), part[1], want)
}

// werkzeugScrypt reads scrypt:N:r:p$salt$hex.
func werkzeugScrypt(parameters, rest string) (legacyHash, error) {
	part := strings.Split(parameters, ":")
	salt, text, ok := strings.Cut(rest, "$")
	want, err := hex.DecodeString(text)
	if len(part) != 3 || !ok || err != nil {
		return nil, errDamagedHash
	}
	return checkScrypt(number(part[0]), number(part[1]), number(part[2]), salt, want)
}

const bcryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// parseBcrypt parses $2b$cost$…, with any version letter. bcrypt uses only the first 72 bytes of a
// password; after a match, the whole password is hashed.
func parseBcrypt(hash string, prepare func(string) string) (legacyHash, error) {
	const prefix, length = len("$2b$12$"), 60
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != length || strings.Trim(hash[prefix:], bcryptAlphabet) != "" {
		return nil, errDamagedHash
	}
	if err := boundedHash(cost <= maxBcryptCost); err != nil {
		return nil, err
	}
	return func(password string) bool {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(prepare(password))) == nil
	}, nil
}

// hexSHA256 is the input of bcrypt in Django's BCryptSHA256PasswordHasher.
func hexSHA256(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// parseArgon2 reads $argon2id$v=19$m=…,t=…,p=…$salt$key (the PHC string format), and argon2i.
func parseArgon2(hash string) (legacyHash, error) {
	part := strings.Split(hash, "$")
	if len(part) != 6 || part[0] != "" {
		return nil, errDamagedHash
	}
	compute := argon2.IDKey
	switch part[1] {
	case "argon2id":
	case "argon2i":
		compute = argon2.Key
	case "argon2d":
		return nil, userMessage("The password hash is argon2d, which is not supported.")
	default:
		return nil, errDamagedHash
	}
	memory, passes, lanes, err := argon2Cost(part[2], part[3])
	if err != nil {
		return nil, err
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(part[4])
	want, keyErr := base64.RawStdEncoding.DecodeString(part[5])
	if errors.Join(saltErr, keyErr) != nil || len(salt) == 0 || len(want) < minHashKey || len(want) > maxLegacyKey {
		return nil, errDamagedHash
	}
	return func(password string) bool {
		return subtle.ConstantTimeCompare(compute([]byte(password), salt, passes, memory, lanes, uint32(len(want))), want) == 1
	}, nil
}

func argon2Cost(version, parameters string) (memory, passes uint32, lanes uint8, err error) {
	if version != "v=19" {
		return 0, 0, 0, userMessage("The password hash uses an old version of argon2.")
	}
	value := argon2Parameters(parameters)
	m, t, p := value["m"], value["t"], value["p"]
	if err := boundedHash(m >= 8 && m <= maxHashMemory && t >= 1 && t <= maxHashPasses && p >= 1 && p <= 255); err != nil {
		return 0, 0, 0, err
	}
	return uint32(m), uint32(t), uint8(p), nil
}
