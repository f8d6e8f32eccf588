package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// NewDeviceCookie returns the device cookie of a browser in which the user has just signed in. It is
// valid until the user's epoch changes.
func (a *Accounts) NewDeviceCookie(u User) string { return a.Keys.NewDeviceCookie(u) }

// NewDeviceCookie returns a device cookie for the user. It proves an earlier sign-in and is not one.
func (k Keys) NewDeviceCookie(u User) string {
	b := make([]byte, deviceIDBytes)
	_, _ = rand.Read(b)
	id := base64.RawURLEncoding.EncodeToString(b)
	return id + "." + base64.RawURLEncoding.EncodeToString(k.sign(devicePurpose, id, u.ID, strconv.FormatInt(u.Epoch, 10)))
}

const deviceIDBytes = 16

// TrustsDevice reports whether the device cookie proves an earlier sign-in of the user in this browser,
// under the current epoch: a new password, a deactivation and "sign out everywhere" void all device
// cookies. All browsers of a user with a valid cookie share one rate limit, so that other clients cannot
// lock the owner out of the account (OWASP, "Slow Down Online Guessing Attacks with Device Cookies").
func (k Keys) TrustsDevice(cookie string, u User) bool {
	id, signature, err := splitDeviceCookie(cookie)
	return err == nil && k.verify(signature, devicePurpose, id, u.ID, strconv.FormatInt(u.Epoch, 10))
}

// TrustsAnyDevice reports whether one of the device cookies is valid for the user.
func (k Keys) TrustsAnyDevice(cookies []string, u User) bool {
	return slices.ContainsFunc(cookies, func(cookie string) bool { return k.TrustsDevice(cookie, u) })
}

// IsDeviceCookie reports whether the value is well-formed.
func IsDeviceCookie(cookie string) bool {
	_, _, err := splitDeviceCookie(cookie)
	return err == nil
}

func splitDeviceCookie(cookie string) (id string, signature []byte, err error) {
	if len(cookie) != base64.RawURLEncoding.EncodedLen(deviceIDBytes)+1+HashLength {
		return "", nil, errors.New("not a device cookie")
	}
	id, s, ok := strings.Cut(cookie, ".")
	if !ok {
		return "", nil, errors.New("not a device cookie")
	}
	signature, err = base64.RawURLEncoding.DecodeString(s)
	return id, signature, err
}

// TrustsAnyDevice reports whether one of the device cookies is valid for the user.
func (a *Accounts) TrustsAnyDevice(cookies []string, u User) bool {
	return a.Keys.TrustsAnyDevice(cookies, u)
}
