package auth

import (
	"context"
	"encoding/base64"
	"strconv"
	"time"
)

// Credential is the proof that a name and password were verified a moment ago, from one network.
// It is kept under "credential:" + Name + ":" + Network in the cache, for a short time, and is
// useless without SECRET_KEY: the MAC is the only thing in it that depends on the password.
type Credential struct {
	Version int `json:"v"`
	// Name is the canonical login name and Network the IPv4 address or IPv6 /64 that the password
	// came from: the record's own key.
	Name    string `json:"name"`
	Network string `json:"network"`
	UserID  string `json:"user_id"`
	Epoch   int64  `json:"epoch"`
	// MAC is HMAC-SHA-256, under a key derived from SECRET_KEY, of name, network, user id, epoch
	// and password, each with its length before it.
	MAC []byte `json:"mac"`

	// User is filled by CredentialCache.Credential when it found the cached user in the same round
	// trip; nil otherwise.
	User *User `json:"-"`
}

// CredentialVersion is the "v" of the credential record that this program writes and reads.
const CredentialVersion = 1

func (k Keys) newCredential(name, network string, u User, password string) Credential {
	c := Credential{Version: CredentialVersion, Name: name, Network: network, UserID: u.ID, Epoch: u.Epoch}
	c.MAC = k.sign(credentialPurpose, c.fields(password)...)
	return c
}

func (c Credential) fields(password string) []string {
	return []string{c.Name, c.Network, c.UserID, strconv.FormatInt(c.Epoch, 10), password}
}

// proves reports whether the record was made for this name, network and password.
func (k Keys) proves(c Credential, name, network, password string) bool {
	return c.Version == CredentialVersion && c.Name == name && c.Network == network && c.UserID != "" &&
		k.verify(c.MAC, credentialPurpose, c.fields(password)...)
}

// CredentialCache keeps credentials in a Redis that may be flushed at any moment.
type CredentialCache interface {
	// Credential returns the record of a canonical name and a network and, in the same round
	// trip, whether any of the keys is marked as waiting. ErrNotFound when there is no record;
	// ThrottledError when a key waits, record or not.
	Credential(ctx context.Context, name, network string, waitKeys ...string) (Credential, error)
	// FillCredential stores a record for the cache's lifetime.
	FillCredential(ctx context.Context, c Credential) error
	// MarkThrottled makes Credential refuse the keys for as long as the throttle does.
	MarkThrottled(ctx context.Context, waits map[string]time.Duration) error
}

// APIClientKey is what MarkThrottled marks when a program's guesses at a name have to wait. The name
// is not in it: what was typed there may be a password in the wrong field.
func (k Keys) APIClientKey(name, network string) string {
	return "program:" + base64.RawURLEncoding.EncodeToString(k.sign(waitPurpose, name, network))
}

// KnownNetwork records that a program used the account from the network, so that strangers who
// guess elsewhere cannot lock it out there. It is kept for KnownNetworkLifetime after the last
// time that a password was verified, and is worth nothing after a change of the epoch.
type KnownNetwork struct {
	Version int `json:"v"`
	// Name is the canonical login name and Network as in Credential: the record's own key.
	Name    string `json:"name"`
	Network string `json:"network"`
	UserID  string `json:"user_id"`
	Epoch   int64  `json:"epoch"`
}

const (
	// KnownNetworkVersion is the "v" of the record that this program writes and reads.
	KnownNetworkVersion = 1
	// KnownNetworkLifetime lets a program pause for a month.
	KnownNetworkLifetime = 30 * 24 * time.Hour
)
