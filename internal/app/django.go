package app

import (
	"context"
	"fmt"
	"log/slog"

	"gatehouse/django"
	"gatehouse/internal/config"
	"gatehouse/kv/redisconn"
	"gatehouse/web"
)

// openBridge opens the Redis that holds Django's sessions; nil without DJANGO_SESSIONS_URL. The server starts even if
// that Redis does not respond, because only users without a session of this server need it.
func (s *Stores) openBridge(ctx context.Context, c config.Config, log *slog.Logger) (*web.Bridge, error) {
	if c.DjangoSessionsURL == "" {
		return nil, nil
	}
	pool, err := redisconn.Open(c.DjangoSessionsURL)
	if err != nil {
		return nil, fmt.Errorf("DJANGO_SESSIONS_URL: %w", err)
	}
	s.closers = append(s.closers, pool.Close)
	sessions := django.NewRedisStore(pool, s.redis, c.DjangoSessionPrefix)
	if err := sessions.CheckAccess(ctx); err != nil {
		log.WarnContext(ctx, "DJANGO_SESSIONS_URL does not respond; until it does, users signed in to Django are not signed in here", "error", err)
	}
	bridge := &django.Bridge{Keys: c.DjangoKeys, Age: c.DjangoSessionAge, Source: c.DjangoSource, Store: sessions, Users: s.database, Log: log}
	s.Accounts.EndExternal = bridge.EndRejected
	return &web.Bridge{Sessions: bridge, Cookie: c.DjangoSessionCookie}, nil
}
