package auth

import (
	"context"
	"errors"
	"gatehouse/auth/password"
)

// AuthenticateBasic verifies the name and password that an API client sends with every request (RFC
// 7617). The first request from a network costs as much as SignIn; for some minutes afterwards, one
// round trip to Redis and an HMAC, whatever other clients attempt elsewhere. The errors are those of
// SignIn.
func (a *Accounts) AuthenticateBasic(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	name, byEmail := canonicalLogin(login)
	password, ok := password.Normalize(rawPassword)
	if name == "" || !ok {
		return a.authenticateBasicUncached(ctx, login, rawPassword, v, false)
	}
	network := v.network()
	waitKey := a.Keys.APIClientKey(name, network)
	cached, err := a.Credentials.Credential(ctx, name, network, addressBucket(v).Key, waitKey)
	var throttled ThrottledError
	if errors.As(err, &throttled) {
		return User{}, err
	}
	// Without the cache, the password is hashed: that costs time but decides the same.
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

// credentialUser returns the user of a cached credential from the cache, from which every change drops
// the user before it is answered. A cache miss is filled.
func (a *Accounts) credentialUser(ctx context.Context, c Credential) (User, error) {
	if c.User != nil && (a.LocalCache == nil || !a.LocalCache.DatabaseFirst()) {
		return *c.User, nil
	}
	return a.cacheUser(ctx, c.UserID)
}

// matches compares the password with a cached credential, unless too many others were compared just
// before. compared reports that the result reveals something about a wrong password.
func (a *Accounts) matches(c Credential, name, network, password, waitKey string) (matches, compared bool) {
	if a.Keys.proves(c, name, network, password) {
		return !a.mismatches.Exceeded(waitKey, a.now()), false
	}
	return false, a.mismatches.Add(waitKey, a.Keys.failures(name, network, password)[0].Digest, a.now())
}

// authenticateBasicUncached verifies the password and caches the credential.
func (a *Accounts) authenticateBasicUncached(ctx context.Context, login, rawPassword string, v Client, compared bool) (User, error) {
	u, err := a.checkThrottled(ctx, attempt{client: v, apiClient: true, cacheMismatch: compared}, login, rawPassword)
	if err != nil {
		return User{}, err
	}
	a.event(ctx, "verified", nil, "username", u.Username, "user_id", u.ID, "address", v.Address.String(), "method", "basic")
	return u, nil
}

// cacheCredential stores the network that an API client uses, and its credential.
func (a *Accounts) cacheCredential(ctx context.Context, g attempt, rawPassword string) {
	u, network := g.user, g.client.network()
	known := KnownNetwork{Version: KnownNetworkVersion, Name: g.login, Network: network, UserID: u.ID, Epoch: u.Epoch}
	if err := a.Throttle.SaveKnownNetwork(ctx, known); err != nil {
		a.Log.WarnContext(ctx, "the network of an API client was not recorded", "error", err, "user_id", u.ID)
	}
	password, _ := password.Normalize(rawPassword)
	if err := a.Credentials.FillCredential(ctx, a.Keys.newCredential(g.login, network, u, password)); err != nil {
		a.Log.WarnContext(ctx, "the credential cache was not filled", "error", err, "user_id", u.ID)
	}
}
