package auth

import (
	"time"
)

// User is a row in users. Its JSON is what the user cache holds and other programs read;
// the password hash is never part of it.
type User struct {
	// ID is a UUIDv7 (RFC 9562), text form.
	ID string `json:"id"`
	// Username is canonical (see identifier.CanonicalUsername) and unique.
	Username string `json:"username"`
	// Name is what pages call the user; may be empty.
	Name string `json:"name"`
	// Email is canonical; may be empty. Only a verified address signs in.
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	// TimeZone is an IANA name such as "Europe/Berlin".
	TimeZone string `json:"time_zone"`
	// Epoch is a number from 1 to MaxEpoch that is replaced by a random one when all sessions,
	// tokens and cached credentials of the user end. Epochs are equal or not; they have no order.
	Epoch  int64 `json:"epoch"`
	Active bool  `json:"active"`

	// Groups and Permissions are what the user belongs to and may, groups' permissions included; sorted.
	Groups      []string `json:"groups"`
	Permissions []string `json:"permissions"`

	PasswordHash string    `json:"-"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
	// LastSignInAt is zero for a user who never signed in.
	LastSignInAt time.Time `json:"-"`
	// PreviousEpoch is the epoch that UserStore.SetPassword or RotateEpoch replaced; 0 in every
	// other user.
	PreviousEpoch int64 `json:"-"`
}

// MaxEpoch is the highest epoch: readers in languages with floating-point numbers hold whole
// numbers exactly up to it.
const MaxEpoch = 1<<53 - 1

// DisplayName returns the name, or the user name for people who gave none.
func (u User) DisplayName() string {
	if u.Name != "" {
		return u.Name
	}
	return u.Username
}

// signsInAs reports whether the canonical login name is the user's today: an address that was
// changed, or is not verified any more, signs nobody in.
func (u User) signsInAs(name string, byEmail bool) bool {
	if byEmail {
		return u.EmailVerified && u.Email == name
	}
	return u.Username == name
}

// AcceptsEpoch reports whether a session, token or cached credential of this epoch still
// speaks for the user (ASVS 7.4.2, 7.4.3).
func (u User) AcceptsEpoch(epoch int64) bool {
	return u.Active && u.Epoch == epoch
}
