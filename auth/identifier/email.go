package identifier

import (
	"net/mail"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// CanonicalEmail returns the form of an address that is stored and looked up: NFC, lower case, the domain in ASCII
// (RFC 5890). Empty stays empty. The error is a message for people.
func CanonicalEmail(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return "", nil
	}
	bad := userMessage("Enter an address such as name@example.org.")
	if len(raw) > MaxEmail || !cleanText(raw) || strings.ContainsAny(raw, " \t<>\"(),;:\\[]") || strings.ContainsFunc(raw, invisible) {
		return "", bad
	}
	at := strings.LastIndexByte(raw, '@')
	if at < 0 {
		return "", bad
	}
	domain, err := idna.Lookup.ToASCII(raw[at+1:])
	if err != nil || !strings.Contains(domain, ".") {
		return "", bad
	}
	// Mapping can produce a domain that is refused when a form submits it again, as for ℵ.example, whose direction is
	// checked only after it became a Hebrew letter.
	if again, err := idna.Lookup.ToASCII(domain); err != nil || again != domain {
		return "", bad
	}
	// The local part is case-sensitive by RFC 5321, but not in practice; two accounts that differ only in case would be
	// confusing.
	email := strings.ToLower(norm.NFC.String(raw[:at])) + "@" + domain
	// Mapping turns other characters into dots, so the stored form is validated.
	if parsed, err := mail.ParseAddress(email); err != nil || parsed.Address != email {
		return "", bad
	}
	if len(email) > MaxEmail {
		return "", bad
	}
	return email, nil
}

// UsernameFromEmail returns a user name derived from a whole address. A domain has no underscore, so the last underscore
// stands for the @. Two addresses give the same name only if their parts before the @ are the same user name.
func UsernameFromEmail(address string) (string, error) {
	email, err := CanonicalEmail(address)
	if err != nil {
		return "", err
	}
	at := strings.LastIndexByte(email, '@')
	if at < 0 {
		return "", userMessage("Enter an address such as name@example.org.")
	}
	name, err := CanonicalUsername(email[:at] + "_" + email[at+1:])
	if err == nil && IsReserved(name) {
		return "", userMessage("This name is reserved.")
	}
	return name, err
}
