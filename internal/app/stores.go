package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/password"
	"gatehouse/db"
	"gatehouse/internal/config"
	"gatehouse/internal/reqstats"
	"gatehouse/kv"
	"gatehouse/kv/embedded"
	"gatehouse/kv/redisconn"
	"gatehouse/web"
)

// ConnectTimeout is how long a start or a command waits for a server to answer.
const ConnectTimeout = 5 * time.Second

// Stores are the open connections of a server or a command.
type Stores struct {
	database    *db.DB
	redis       *redisconn.Pool // nil for a command on the embedded stores
	embedded    bool            // redis is in this or another server's process
	cache       *redisconn.Pool
	sessions    *kv.Sessions
	users       *kv.Users
	credentials *kv.Credentials
	changes     *kv.Changes
	// maintenance is nil where redis is.
	maintenance *kv.Maintenance
	Accounts    *auth.Accounts
	closers     []func() error
}

// Close closes everything, last opened first.
func (s *Stores) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// OpenDatabase connects to the users' database, embedded or not.
func OpenDatabase(ctx context.Context, c config.Config) (*db.DB, error) {
	if c.DatabaseURL == "" {
		if err := c.MakeDataDir(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	d, err := db.Open(ctx, c.ResolveDatabaseURL(), db.ListenURL(c.DatabaseListenURL))
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return d, nil
}

// openForServer opens everything that a server needs, Redis in this process included.
func openForServer(ctx context.Context, c config.Config, migrate bool, log *slog.Logger) (*Stores, error) {
	s := &Stores{embedded: c.RedisURL == ""}
	err := errors.Join(s.openSQL(ctx, c, migrate || c.EmbeddedSQL()))
	if err == nil {
		err = s.openRedis(ctx, c, log)
	}
	if err == nil {
		err = s.makeAccounts(c, log)
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

// OpenForCommand opens what a command needs. The Redis inside of a running server is reached
// by its socket in DATA_DIR; without a server there is nothing to reach.
func OpenForCommand(ctx context.Context, c config.Config, log *slog.Logger) (*Stores, error) {
	s := &Stores{embedded: c.RedisURL == ""}
	if s.embedded {
		url, err := RunningRedis(ctx, c)
		if err != nil {
			return nil, err
		}
		c.RedisURL = url
	}
	err := s.openSQL(ctx, c, c.EmbeddedSQL())
	if err == nil && c.RedisURL != "" {
		err = s.openRedis(ctx, c, log)
	}
	if err == nil {
		err = s.makeAccounts(c, log)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// RunningRedis returns the URL of the Redis inside a server that runs on the same DATA_DIR, or "" if none
// runs. A server that is there and does not answer is an error: a change that its caches do not learn of
// must not be reported as made.
func RunningRedis(ctx context.Context, c config.Config) (string, error) {
	url, err := embedded.FindRedis(ctx, c.DataDir)
	if err == nil && url != "" {
		var r *redisconn.Pool
		if r, err = redisconn.Open(url); err == nil {
			defer r.Close()
			err = ping(ctx, r)
		}
	}
	if err != nil {
		return "", fmt.Errorf("the server that runs on DATA_DIR %s does not answer; nothing was changed: %w", c.DataDir, err)
	}
	return url, nil
}

func (s *Stores) openSQL(ctx context.Context, c config.Config, migrate bool) error {
	d, err := OpenDatabase(ctx, c)
	if err != nil {
		return err
	}
	s.database = d
	s.closers = append(s.closers, d.Close)
	if migrate {
		if err := d.Migrate(ctx); err != nil {
			return fmt.Errorf("DATABASE_URL: %w", err)
		}
		return nil
	}
	current, want, err := d.SchemaVersions(ctx)
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	if current < want {
		return fmt.Errorf("the database's schema is at version %d and this program needs %d: run `gatehouse migrate up`, or serve with --migrate", current, want)
	}
	return nil
}

func (s *Stores) openRedis(ctx context.Context, c config.Config, log *slog.Logger) error {
	redisURL := c.RedisURL
	if redisURL == "" {
		embedded, err := startRedis(c)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, func() error { embedded.Close(); return nil })
		redisURL = embedded.URL()
	}
	cacheURL, err := c.ResolveCacheURL(redisURL)
	if err != nil {
		return err
	}
	if s.redis, err = s.connect(ctx, "REDIS_URL", redisURL); err != nil {
		return err
	}
	if s.cache, err = s.connect(ctx, "CACHE_URL", cacheURL); err != nil {
		return err
	}
	if c.RedisURL != "" {
		warnOfEviction(ctx, s.redis, log)
	}
	return nil
}

// startRedis starts the Redis inside this process, where the commands of the same owner find it.
func startRedis(c config.Config) (*embedded.Redis, error) {
	if err := c.MakeDataDir(); err != nil {
		return nil, err
	}
	server, err := embedded.StartRedis(c.DataDir)
	if errors.Is(err, embedded.ErrDirectoryInUse) {
		return nil, fmt.Errorf("DATA_DIR %s: %w; stop it first, give this one a DATA_DIR of its own, or set REDIS_URL so that both share one Redis", c.DataDir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("DATA_DIR %s: %w", c.DataDir, err)
	}
	return server, nil
}

func (s *Stores) connect(ctx context.Context, setting, url string) (*redisconn.Pool, error) {
	r, err := redisconn.Open(url)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	s.closers = append(s.closers, r.Close)
	if err := ping(ctx, r); err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return r, nil
}

// ping waits for an answer. A refusal is one; silence may be a machine that has just too much to do.
func ping(ctx context.Context, r *redisconn.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	err := r.Ping(ctx)
	for isTimeout(err) && ctx.Err() == nil {
		err = r.Ping(ctx)
	}
	return err
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// openBridge opens the Redis of a Django whose sessions count here; nil without one. That it does
// not answer keeps nobody from starting: people with a session of ours do not need it.
func (s *Stores) openBridge(ctx context.Context, c config.Config, log *slog.Logger) (*web.Bridge, error) {
	if c.DjangoSessionsURL == "" {
		return nil, nil
	}
	theirs, err := redisconn.Open(c.DjangoSessionsURL)
	if err != nil {
		return nil, fmt.Errorf("DJANGO_SESSIONS_URL: %w", err)
	}
	s.closers = append(s.closers, theirs.Close)
	sessions := kv.NewDjango(theirs, s.redis, c.DjangoSessionPrefix)
	if err := sessions.Readable(ctx); err != nil {
		log.WarnContext(ctx, "DJANGO_SESSIONS_URL: people who are signed in at Django are not signed in here until it answers", "error", err)
	}
	django := &auth.DjangoBridge{Keys: c.DjangoKeys, Age: c.DjangoSessionAge, Source: c.DjangoSource, Store: sessions, Users: s.database, Log: log}
	s.Accounts.EndExternal = django.EndRejected
	return &web.Bridge{Django: django, Cookie: c.DjangoSessionCookie}, nil
}

// EvictionProblem says what is wrong with the sessions' Redis, or "".
func EvictionProblem(ctx context.Context, r *redisconn.Pool) string {
	policy, err := r.EvictionPolicy(ctx)
	if err != nil {
		return "its maxmemory-policy could not be read; make sure that it is noeviction"
	}
	if policy != "" && policy != "noeviction" {
		return fmt.Sprintf("its maxmemory-policy is %s, so a full Redis would sign people out; set it to noeviction", policy)
	}
	return ""
}

func warnOfEviction(ctx context.Context, r *redisconn.Pool, log *slog.Logger) {
	if fault := EvictionProblem(ctx, r); fault != "" {
		log.WarnContext(ctx, "REDIS_URL: "+fault)
	}
}

func (s *Stores) makeAccounts(c config.Config, log *slog.Logger) error {
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

// noCache stands for the cache when there is no Redis: no server runs that could have one.
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
