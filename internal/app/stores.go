package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/password"
	"gatehouse/db"
	"gatehouse/internal/config"
	"gatehouse/internal/reqstats"
	"gatehouse/kv"
	"gatehouse/kv/redisconn"
)

// ConnectTimeout is how long startup or a command waits for a database or Redis to respond.
const ConnectTimeout = 6 * time.Second

// RetryTimeouts repeats try while it times out, which may only mean a busy machine, for ConnectTimeout or until ctx
// ends. It returns any other error immediately.
func RetryTimeouts(ctx context.Context, try func() error) error {
	start := time.Now()
	err := try()
	for redisconn.IsTimeout(err) && ctx.Err() == nil && time.Since(start) < ConnectTimeout {
		err = try()
	}
	return err
}

// Stores are the open connections of a server or a command.
type Stores struct {
	database    *db.DB
	redis       *redisconn.Pool // nil for a command on the embedded stores without a running server
	embedded    bool            // redis runs inside this server or another one
	cache       *redisconn.Pool
	sessions    *kv.Sessions
	users       *kv.Users
	credentials *kv.Credentials
	changes     *kv.Changes
	maintenance *kv.Maintenance // nil if redis is
	Accounts    *auth.Accounts
	closers     []func() error
}

// Close closes all stores, the last opened first.
func (s *Stores) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// openForServer opens everything that a server needs, including the Redis inside this process.
func openForServer(ctx context.Context, c config.Config, migrate bool, log *slog.Logger) (*Stores, error) {
	s := &Stores{embedded: c.RedisURL == ""}
	err := s.openDatabase(ctx, c, migrate || c.EmbeddedSQL())
	if err == nil {
		err = s.openRedis(ctx, c, log)
	}
	if err == nil {
		err = s.newAccounts(c, log)
	}
	if err == nil {
		s.Accounts.Keys, err = c.Keys()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.Accounts.LocalCache = auth.NewLocalUserCache(c.UserCacheTTL)
	return s, nil
}

// OpenForCommand opens what a command needs. It finds the Redis inside of a running server by its socket in DATA_DIR;
// without a running server there is no Redis, and none is needed.
func OpenForCommand(ctx context.Context, c config.Config, log *slog.Logger) (*Stores, error) {
	s := &Stores{embedded: c.RedisURL == ""}
	if s.embedded {
		url, err := RunningRedis(ctx, c)
		if err != nil {
			return nil, err
		}
		c.RedisURL = url
	}
	err := s.openDatabase(ctx, c, c.EmbeddedSQL())
	if err == nil && c.RedisURL != "" {
		err = s.openRedis(ctx, c, log)
	}
	if err == nil {
		err = s.newAccounts(c, log)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// newAccounts sets Accounts on the open stores.
func (s *Stores) newAccounts(c config.Config, log *slog.Logger) error {
	hasher, err := password.NewHasher(hashers, password.DefaultParams)
	if err != nil {
		return err
	}
	hasher.OnHash = func(ctx context.Context) { reqstats.FromContext(ctx).AddHash() }
	s.Accounts = &auth.Accounts{
		OnChangeAttempt:  func(ctx context.Context) { reqstats.FromContext(ctx).RecordChangeAttempt() },
		Users:            s.database,
		Grants:           s.database,
		Hasher:           hasher,
		Policy:           password.Policy{MinLength: c.PasswordMin},
		RegistrationOpen: c.Registration == "open",
		TokenLifetime:    c.TokenLifetime,
		Log:              log,
		Cache:            noCache{},
	}
	if s.redis == nil {
		return nil
	}
	users := kv.NewUsers(s.cache, c.UserCacheTTL)
	users.Log = log
	tokens := kv.NewTokens(s.redis, log)
	s.changes = kv.NewChanges(s.redis, s.embedded, log)
	s.closers = append(s.closers, users.Close, tokens.Close, s.changes.Close)
	s.Accounts.Changes = s.changes
	s.sessions = kv.NewSessions(s.redis)
	s.maintenance = kv.NewMaintenance(s.redis)
	s.users, s.credentials = users, kv.NewCredentials(s.cache, c.CredentialTTL)
	s.credentials.Users = users
	s.Accounts.Cache, s.Accounts.Credentials = s.users, s.credentials
	s.Accounts.Sessions, s.Accounts.Throttle, s.Accounts.Tokens = s.sessions, kv.NewThrottle(s.redis), tokens
	return nil
}

// noCache is the user cache of a command without a Redis: no server runs that could have cached a user.
type noCache struct{}

func (noCache) User(context.Context, string) (auth.User, string, error) {
	return auth.User{}, "", auth.ErrNotFound
}
func (noCache) Fill(context.Context, auth.User, string) error       { return nil }
func (noCache) SharedLease(context.Context, string) (string, error) { return "", nil }
func (noCache) FillDeleted(context.Context, string, string) error   { return nil }
func (noCache) Invalidate(string)                                   {}
func (noCache) InvalidateAll()                                      {}
func (noCache) Drop(context.Context, string) error                  { return nil }
func (noCache) DropAll(context.Context) error                       { return nil }
