package embedded

import (
	"context"
	"time"
)

// Unexported names for external tests.
const (
	SocketName  = socketName
	LockName    = lockName
	StagingName = stagingName
)

var (
	LockDirectory = lockDirectory
	ListenPrivate = listenPrivate
)

// FindRedisWithin is FindRedis with another timeout.
func FindRedisWithin(ctx context.Context, dir string, limit time.Duration) (string, error) {
	return findRedis(ctx, dir, limit)
}

// SocketURL is unixURL.
func SocketURL(path string) string { return unixURL(path) }
