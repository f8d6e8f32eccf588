package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/tokensecret"
	"slices"
	"time"

	"github.com/google/uuid"
)

// TokenVersion is the "v" of the token record that this program writes and reads.
const TokenVersion = 1

// TokenPrefix begins every API token.
const TokenPrefix = tokensecret.Prefix

// Token is an API token, stored in Redis under "token:" + ID. Its JSON names are a contract, like those of Session.
type Token struct {
	Version int `json:"v"`
	// ID is TokenID of the secret: the record's own key.
	ID string `json:"id"`
	// TokenID (UUIDv7) identifies the token to people and programs; it is not a secret.
	TokenID string `json:"token_id"`
	UserID  string `json:"user_id"`
	Epoch   int64  `json:"epoch"`
	Name    string `json:"name"`
	// Hint is TokenHint of the secret; empty for tokens created before it was stored.
	Hint      string    `json:"hint,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt ends the token whatever the key's TTL says.
	ExpiresAt time.Time `json:"expires_at"`
	// Permissions restricts the token to these permissions of its owner; nil for all of them.
	Permissions []string `json:"permissions"`

	// LastUsed is set by TokenStore.List only; zero for never. Exact to a few seconds.
	LastUsed time.Time `json:"-"`
}

// The reasons to refuse a token. They may be shown to the client, which has proved that it knows the
// secret.
var (
	ErrTokenMalformed = errors.New("token is malformed")
	ErrTokenUnknown   = errors.New("token is unknown, expired or revoked")
	ErrUserDisabled   = errors.New("user is disabled")
	// ErrTokenInvalidated: the password was changed, or all sessions were ended, since it was created.
	ErrTokenInvalidated = errors.New("token was ended by a change of the account")
)

// NewTokenSecret returns a new random API token.
func NewTokenSecret() string { return tokensecret.New() }

// TokenID returns the id of a token's record: the unpadded base64url of its SHA-256. ErrTokenMalformed for a text that is
// not a token.
func TokenID(secret string) (string, error) {
	if id, ok := tokensecret.ID(secret); ok {
		return id, nil
	}
	return "", ErrTokenMalformed
}

// TokenHint returns the part of a secret that helps its owner to tell tokens apart.
func TokenHint(secret string) string { return tokensecret.Hint(secret) }

// Valid reports whether the record is valid now under this id. It does not check the epoch; User.AcceptsEpoch does.
func (t *Token) Valid(id string, now time.Time) bool {
	return t.Version == TokenVersion && t.ID == id && t.UserID != "" && now.Before(t.ExpiresAt)
}

// EffectivePermissions returns the permissions of the user that the token may use.
func (t *Token) EffectivePermissions(owned []string) []string {
	if t.Permissions == nil {
		return owned
	}
	return slices.DeleteFunc(slices.Clone(t.Permissions), func(p string) bool { return !allows(owned, p) })
}

// IsRestricted reports whether the token was narrowed to some of its owner's permissions, or to none.
func (t *Token) IsRestricted() bool { return t.Permissions != nil }

// Restrict returns the owner as the token acts: a limited token has only its own permissions, and no
// groups, because what a group permits elsewhere is unknown here.
func (t *Token) Restrict(owner User) User {
	if t.IsRestricted() {
		owner.Permissions, owner.Groups = t.EffectivePermissions(owner.Permissions), nil
	}
	return owner
}

// TokenStore stores API tokens in Redis.
type TokenStore interface {
	// Create stores a new token and adds it to the user's index. ErrTooManyTokens when the user already has MaxTokens
	// of the current epoch, which it reads only if the index is full.
	Create(ctx context.Context, t Token, current func(context.Context) (epoch int64, err error)) error
	// Find returns the record under the id in one round trip; ErrNotFound when there is none
	// or it is invalid.
	Find(ctx context.Context, id string) (Token, error)
	// RecordUse records that the token was used, without waiting for Redis.
	RecordUse(t Token, at time.Time)
	// List returns the user's live tokens, newest first, with LastUsed set.
	List(ctx context.Context, userID string) ([]Token, error)
	// Revoke ends one token of the user by its TokenID; ErrNotFound otherwise.
	Revoke(ctx context.Context, userID, tokenID string) error
	// RevokeAll ends every token of the user.
	RevokeAll(ctx context.Context, userID string) error
	// EndStale sets the epoch of the user's tokens of any epoch but the current one to 0, which
	// no user ever has. It calls current as SessionStore.EndStale does.
	EndStale(ctx context.Context, userID string, current func(context.Context) (epoch int64, err error)) error
}

// MaxTokens is the maximum number of live tokens of a user.
const MaxTokens = 100

// ErrTooManyTokens: the user has MaxTokens already.
var ErrTooManyTokens = errors.New("too many tokens")

// TokenRequest describes a token to create.
type TokenRequest struct {
	// Name helps the owner to recognize the token.
	Name string
	// Lifetime; zero for the default.
	Lifetime time.Duration
	// ExpiresAt takes precedence over Lifetime, unless it is zero.
	ExpiresAt time.Time
	// Permissions restricts the token; nil for all permissions of its owner.
	Permissions []string
}

// MinTokenLifetime and MaxTokenLifetime bound the lifetime of a token.
const (
	MinTokenLifetime = time.Minute
	MaxTokenLifetime = 366 * 24 * time.Hour
)

// NewToken creates an API token for the user. The secret is returned only once. The error is ValidationErrors for input to
// correct, such as a permission that the owner does not have.
func (a *Accounts) NewToken(ctx context.Context, owner User, r TokenRequest) (secret string, t Token, err error) {
	wrong := ValidationErrors{}
	name := checked("name", r.Name, identifier.CanonicalDisplayName, wrong)
	if name == "" && wrong["name"] == "" {
		wrong["name"] = "Give the token a name that you will recognize."
	}
	now := a.now().Truncate(time.Second)
	switch {
	case !r.ExpiresAt.IsZero():
		r.Lifetime = r.ExpiresAt.Sub(now)
	case r.Lifetime == 0:
		r.Lifetime = a.TokenLifetime
	}
	if r.Lifetime < MinTokenLifetime || r.Lifetime > MaxTokenLifetime {
		wrong["lifetime"] = "A token lives for at least a minute and at most a year."
	}
	for _, p := range r.Permissions {
		if err := identifier.ValidatePermissionName(p); err != nil {
			wrong["permissions"] = err.Error()
		} else if !allows(owner.Permissions, p) {
			wrong["permissions"] = "You do not have the permission " + p + " yourself."
		}
	}
	if err := wrong.orNil(); err != nil {
		return "", Token{}, err
	}
	// Duplicates are removed to bound the record. Nil stays nil, and empty stays empty.
	permissions := slices.Clone(r.Permissions)
	slices.Sort(permissions)
	secret = NewTokenSecret()
	id, err := TokenID(secret)
	if err != nil {
		return "", Token{}, err
	}
	t = Token{
		Version: TokenVersion, ID: id, TokenID: uuid.Must(uuid.NewV7()).String(), UserID: owner.ID, Epoch: owner.Epoch,
		Name: name, Hint: TokenHint(secret), CreatedAt: now, ExpiresAt: now.Add(r.Lifetime), Permissions: slices.Compact(permissions),
	}
	err = a.Tokens.Create(ctx, t, a.currentEpoch(owner.ID))
	a.recordChangeAttempt(ctx, err)
	if err != nil {
		return "", Token{}, fmt.Errorf("create an API token: %w", err)
	}
	a.event(ctx, "token created", nil, "username", owner.Username, "user_id", owner.ID, "token_id", t.TokenID)
	return secret, t, nil
}

// AuthenticateToken returns the owner of an API token, restricted to the token's permissions (see Token.Restrict), and the
// token. The errors are ErrTokenMalformed, ErrTokenUnknown, ErrTokenInvalidated and ErrUserDisabled.
func (a *Accounts) AuthenticateToken(ctx context.Context, secret string) (User, Token, error) {
	id, err := TokenID(secret)
	if err != nil {
		return User{}, Token{}, err
	}
	t, err := a.Tokens.Find(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return User{}, Token{}, ErrTokenUnknown
	}
	if err != nil {
		return User{}, Token{}, err
	}
	now := a.now()
	changes, err := a.rejections.Find(t.ID, now)
	if err != nil {
		return User{}, Token{}, err
	}
	u, verified, err := a.userAtEpoch(ctx, t.UserID, t.Epoch)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, Token{}, err
	}
	refused := refusedToken(u, t, err)
	if refused == nil {
		a.Tokens.RecordUse(t, now)
		return t.Restrict(u), t, nil
	}
	stale := err == nil && verified && !u.AcceptsEpoch(t.Epoch)
	if err != nil || stale {
		a.rejections.Store(t.ID, refused, changes, now)
	}
	if stale && now.UnixMilli() >= a.endAfter.Load() && !a.endStale(ctx, t.UserID, "") {
		a.endAfter.Store(now.Add(endPause).UnixMilli())
	}
	return User{}, Token{}, refused
}

// refusedToken returns why the token is refused, or nil. err is the error of looking up the user.
func refusedToken(u User, t Token, err error) error {
	switch {
	case err != nil:
		return ErrTokenUnknown
	case !u.Active:
		return ErrUserDisabled
	case !u.AcceptsEpoch(t.Epoch):
		return ErrTokenInvalidated
	}
	return nil
}

// ListTokens returns the user's live tokens, newest first, with LastUsed set.
func (a *Accounts) ListTokens(ctx context.Context, userID string) ([]Token, error) {
	return a.Tokens.List(ctx, userID)
}

// RevokeToken ends one token of the user by its TokenID; ErrNotFound when there is none.
func (a *Accounts) RevokeToken(ctx context.Context, u User, tokenID string) error {
	err := a.Tokens.Revoke(ctx, u.ID, tokenID)
	a.recordChangeAttempt(ctx, err)
	if err != nil {
		return err
	}
	a.event(ctx, "token revoked", nil, "username", u.Username, "user_id", u.ID, "token_id", tokenID)
	return nil
}

// RevokeAllTokens ends every token of the user.
func (a *Accounts) RevokeAllTokens(ctx context.Context, u User) error {
	err := a.Tokens.RevokeAll(ctx, u.ID)
	a.recordChangeAttempt(ctx, err)
	if err != nil {
		return err
	}
	a.event(ctx, "all tokens revoked", nil, "username", u.Username, "user_id", u.ID)
	return nil
}
