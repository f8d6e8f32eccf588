package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// NewDeviceCookie returns the cookie value that makes a browser known for a user who has just signed
// in there, until the user's epoch changes.
func (a *Accounts) NewDeviceCookie(u User) string { return a.Keys.NewDeviceCookie(u) }

// NewDeviceCookie returns a cookie value that makes a browser known for the user. It is no sign-in:
// it only says that there was one.
func (k Keys) NewDeviceCookie(u User) string {
	b := make([]byte, browserIDBytes)
	_, _ = rand.Read(b)
	id := base64.RawURLEncoding.EncodeToString(b)
	return id + "." + base64.RawURLEncoding.EncodeToString(k.sign(browserPurpose, id, u.ID, strconv.FormatInt(u.Epoch, 10)))
}

const browserIDBytes = 16

// TrustsDevice reports whether the cookie value says that the user signed in in this browser before,
// under the user's present epoch: a new password, a deactivation and "sign out everywhere" make
// every browser unknown. All known browsers of a user share one allowance of sign-in attempts, so
// that strangers who guess at an account cannot lock its owner out (OWASP, "Slow Down Online
// Guessing Attacks with Device Cookies").
func (k Keys) TrustsDevice(cookie string, u User) bool {
	id, signature, err := splitBrowser(cookie)
	return err == nil && k.verify(signature, browserPurpose, id, u.ID, strconv.FormatInt(u.Epoch, 10))
}

// TrustsAnyDevice reports whether one of the cookie values makes the browser known for the user.
func (k Keys) TrustsAnyDevice(cookies []string, u User) bool {
	return slices.ContainsFunc(cookies, func(cookie string) bool { return k.TrustsDevice(cookie, u) })
}

// IsDeviceCookie reports whether the value looks like one of NewDeviceCookie.
func IsDeviceCookie(cookie string) bool {
	_, _, err := splitBrowser(cookie)
	return err == nil
}

func splitBrowser(cookie string) (id string, signature []byte, err error) {
	if len(cookie) != 22+1+HashLength {
		return "", nil, errors.New("not a browser cookie")
	}
	id, s, ok := strings.Cut(cookie, ".")
	if !ok {
		return "", nil, errors.New("not a browser cookie")
	}
	signature, err = base64.RawURLEncoding.DecodeString(s)
	return id, signature, err
}

// TrustsAnyDevice reports whether one of the device cookies is valid for the user.
func (a *Accounts) TrustsAnyDevice(cookies []string, u User) bool {
	return a.Keys.TrustsAnyDevice(cookies, u)
}
