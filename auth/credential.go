package auth

import (
	"context"
	"encoding/base64"
	"strconv"
	"time"
)

// Credential proves that a name and password were recently verified from one network. It is cached
// under "credential:" + Name + ":" + Network for a short time, and is useless without SECRET_KEY: only
// the MAC depends on the password.
type Credential struct {
	Version int `json:"v"`
	// Name is the canonical login and Network the client's IPv4 address or IPv6 /64: the record's own key.
	Name    string `json:"name"`
	Network string `json:"network"`
	UserID  string `json:"user_id"`
	Epoch   int64  `json:"epoch"`
	// MAC is the HMAC-SHA-256, under a key derived from SECRET_KEY, of name, network, user id, epoch and
	// password, each prefixed with its length.
	MAC []byte `json:"mac"`

	// User is set by CredentialCache.Credential if it found the cached user in the same round trip.
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

// CredentialCache caches credentials. It may be flushed at any time.
type CredentialCache interface {
	// Credential returns the record of a canonical name and a network and, in the same round
	// trip, whether any of the keys is throttled: ThrottledError then, with or without a record.
	// ErrNotFound when there is no record.
	Credential(ctx context.Context, name, network string, waitKeys ...string) (Credential, error)
	// FillCredential stores a record for the cache's lifetime.
	FillCredential(ctx context.Context, c Credential) error
	// MarkThrottled makes Credential refuse the keys for the given times.
	MarkThrottled(ctx context.Context, waits map[string]time.Duration) error
}

// APIClientKey is the key that MarkThrottled marks when an API client's attempts under a name have to
// wait. It does not contain the name, which may be a password in the wrong field.
func (k Keys) APIClientKey(name, network string) string {
	return "program:" + base64.RawURLEncoding.EncodeToString(k.sign(throttlePurpose, name, network))
}

// KnownNetwork records that an API client used the account from the network, so that failed attempts
// from elsewhere cannot lock it out there. It is kept for KnownNetworkLifetime after the last
// verification of a password, and is void after a change of the epoch.
type KnownNetwork struct {
	Version int `json:"v"`
	// Name and Network are those of a Credential: the record's own key.
	Name    string `json:"name"`
	Network string `json:"network"`
	UserID  string `json:"user_id"`
	Epoch   int64  `json:"epoch"`
}

const (
	// KnownNetworkVersion is the "v" of the record that this program writes and reads.
	KnownNetworkVersion = 1
	// KnownNetworkLifetime allows an API client to pause for a month.
	KnownNetworkLifetime = 30 * 24 * time.Hour
)
