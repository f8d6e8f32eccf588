package kv

import (
	"hash/maphash"
	"sync/atomic"

	"gatehouse/auth"
)

// userHints maps a login name to the user of its last credential, so that the cached user can be read
// in the same round trip. A wrong hint only wastes that read: the credential names its user.
type userHints struct {
	seed  maphash.Seed
	slots [decodeCacheSlots]atomic.Pointer[userHint]
}

type userHint struct{ name, userID string }

func newUserHints() *userHints { return &userHints{seed: maphash.MakeSeed()} }

func (h *userHints) slot(name string) *atomic.Pointer[userHint] {
	return &h.slots[maphash.String(h.seed, name)%decodeCacheSlots]
}

// user returns the id of the name's user, or "".
func (h *userHints) user(name string) string {
	if hint := h.slot(name).Load(); hint != nil && hint.name == name {
		return hint.userID
	}
	return ""
}

func (h *userHints) store(name, userID string) {
	if h.user(name) != userID {
		h.slot(name).Store(&userHint{name, userID})
	}
}

// cachedUser returns the user that was read together with a credential, or nil. It is current: a change
// deletes it from the cache before the change is answered.
func (c *Credentials) cachedUser(reply any, id string) *auth.User {
	value, _ := reply.([]byte)
	if len(value) == 0 || c.Users == nil || c.Users.isDropPending(id) {
		return nil
	}
	u, ok := c.decodedUsers.decode(value, parseAnyUser)
	if !ok || u.ID != id {
		return nil
	}
	return &u
}
