package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gatehouse/internal/config"
	"gatehouse/kv/embedded"
	"gatehouse/kv/redisconn"
)

// OpenRedis connects to a Redis and waits up to ConnectTimeout for its response: it retries a timeout, which may only
// mean a busy machine, and returns any other error.
func OpenRedis(ctx context.Context, url string) (*redisconn.Pool, error) {
	r, err := redisconn.Open(url)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	if err := RetryTimeouts(ctx, func() error { return r.Ping(ctx) }); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// openRedis connects to the Redis of sessions and to that of the caches, and starts the embedded one if REDIS_URL is
// empty.
func (s *Stores) openRedis(ctx context.Context, c config.Config, log *slog.Logger) error {
	redisURL := c.RedisURL
	if redisURL == "" {
		server, err := startRedis(c)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, func() error { server.Close(); return nil })
		redisURL = server.URL()
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
	if c.RedisURL == "" {
		return nil
	}
	if problem := EvictionProblem(ctx, s.redis); problem != "" {
		log.WarnContext(ctx, "REDIS_URL: "+problem)
	}
	return nil
}

// startRedis starts a Redis inside this process, which commands find through DATA_DIR.
func startRedis(c config.Config) (*embedded.Redis, error) {
	if err := c.MakeDataDir(); err != nil {
		return nil, err
	}
	server, err := embedded.StartRedis(c.DataDir)
	if errors.Is(err, embedded.ErrDirectoryInUse) {
		return nil, fmt.Errorf("DATA_DIR %s: %w; stop that server first, use another DATA_DIR, or set REDIS_URL so that both servers share one Redis", c.DataDir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("DATA_DIR %s: %w", c.DataDir, err)
	}
	return server, nil
}

// connect is OpenRedis for the lifetime of the stores.
func (s *Stores) connect(ctx context.Context, setting, url string) (*redisconn.Pool, error) {
	r, err := OpenRedis(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	s.closers = append(s.closers, r.Close)
	return r, nil
}

// RunningRedis returns the URL of the Redis inside a server that runs on DATA_DIR, or "" if there is no such server. A
// server that does not respond is an error, because its caches would miss the change that a command is about to make.
func RunningRedis(ctx context.Context, c config.Config) (string, error) {
	url, err := embedded.FindRedis(ctx, c.DataDir)
	if err == nil && url != "" {
		var r *redisconn.Pool
		if r, err = OpenRedis(ctx, url); err == nil {
			defer r.Close()
		}
	}
	if err != nil {
		return "", fmt.Errorf("the server that runs on DATA_DIR %s does not respond; nothing was changed: %w", c.DataDir, err)
	}
	return url, nil
}

// EvictionProblem returns what is wrong with the eviction policy of the Redis that holds sessions, or "".
func EvictionProblem(ctx context.Context, r *redisconn.Pool) string {
	policy, err := r.EvictionPolicy(ctx)
	if err != nil {
		return "its maxmemory-policy could not be read; make sure that it is noeviction"
	}
	if policy != "" && policy != "noeviction" {
		return fmt.Sprintf("its maxmemory-policy is %s, so a full Redis would sign users out; set it to noeviction", policy)
	}
	return ""
}
