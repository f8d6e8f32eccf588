package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"gatehouse/auth/password"
	"strconv"
	"time"
)

// CredentialVersion is the "v" of the credential record that this program writes and reads.
const CredentialVersion = 1

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

// AuthenticateBasic returns the user whose name and password these are, for a program that sends them
// with every request (RFC 7617). The first time from a network costs what SignIn costs; for some
// minutes afterwards one round trip to Redis and an HMAC, whatever strangers guess elsewhere. The
// errors are those of SignIn.
func (a *Accounts) AuthenticateBasic(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	name, byEmail := canonicalLogin(login)
	password, ok := password.Normalize(rawPassword)
	if name == "" || !ok {
		return a.authenticateBasicUncached(ctx, login, rawPassword, v, false)
	}
	network := v.network()
	waitKey := a.Keys.APIClientKey(name, network)
	cached, err := a.Credentials.Credential(ctx, name, network, addressAttempt(v).Key, waitKey)
	var throttled ThrottledError
	if errors.As(err, &throttled) {
		return User{}, err
	}
	// A cache that is down costs a hash, and lets nobody in or out.
	if err != nil {
		return a.authenticateBasicUncached(ctx, login, rawPassword, v, false)
	}
	if matches, compared := a.matches(cached, name, network, password, waitKey); !matches {
		return a.authenticateBasicUncached(ctx, login, rawPassword, v, compared)
	}
	u, err := a.credentialUser(ctx, cached)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	if err != nil || !u.AcceptsEpoch(cached.Epoch) || !u.signsInAs(name, byEmail) {
		return a.authenticateBasicUncached(ctx, login, rawPassword, v, false)
	}
	return u, nil
}

// credentialUser returns the user of a cached credential as current as a session's: from the cache,
// which a change drops before it is answered, and which is filled if it has lost the user.
func (a *Accounts) credentialUser(ctx context.Context, c Credential) (User, error) {
	if c.User != nil && (a.LocalCache == nil || !a.LocalCache.databaseFirst.Load()) {
		return *c.User, nil
	}
	return a.cacheUser(ctx, c.UserID)
}

// matches compares the password with a cached credential, unless too many others were just now.
// compared reports that the outcome tells something about a wrong password.
func (a *Accounts) matches(c Credential, name, network, password, waitKey string) (matches, compared bool) {
	if a.Keys.proves(c, name, network, password) {
		return !a.mismatches.exceeded(waitKey, a.now()), false
	}
	return false, a.mismatches.add(waitKey, a.Keys.failures(name, network, password)[0].Digest, a.now())
}

// authenticateBasicUncached verifies the password itself and remembers that it did.
func (a *Accounts) authenticateBasicUncached(ctx context.Context, login, rawPassword string, v Client, compared bool) (User, error) {
	u, err := a.checkThrottled(ctx, attempt{client: v, apiClient: true, cacheMismatch: compared}, login, rawPassword)
	if err != nil {
		return User{}, err
	}
	a.event(ctx, "verified", nil, "username", u.Username, "user_id", u.ID, "address", v.Address.String(), "method", "basic")
	return u, nil
}

// rememberProgram keeps the network that a program's password came from, and its credential.
func (a *Accounts) rememberProgram(ctx context.Context, g attempt, rawPassword string) {
	u, network := g.user, g.client.network()
	known := KnownNetwork{Version: KnownNetworkVersion, Name: g.login, Network: network, UserID: u.ID, Epoch: u.Epoch}
	if err := a.Throttle.SaveKnownNetwork(ctx, known); err != nil {
		a.Log.WarnContext(ctx, "the network of a program was not kept", "error", err, "user_id", u.ID)
	}
	password, _ := password.Normalize(rawPassword)
	if err := a.Credentials.FillCredential(ctx, a.Keys.newCredential(g.login, network, u, password)); err != nil {
		a.Log.WarnContext(ctx, "the credential cache was not filled", "error", err, "user_id", u.ID)
	}
}
