package embedded

import (
	"context"
	"time"
)

// What external tests see of the package.
const (
	SocketName  = socketName
	LockName    = lockName
	StagingName = stagingName
)

var (
	LockDirectory = lockDirectory
	ListenPrivate = listenPrivate
)

// FindRedisWithin is FindRedis with another limit.
func FindRedisWithin(ctx context.Context, dir string, limit time.Duration) (string, error) {
	return findRedis(ctx, dir, limit)
}

// SocketURL is unixURL.
func SocketURL(path string) string { return unixURL(path) }
