// Package embedded runs a Redis inside this process, for a machine without one: miniredis behind a
// Unix socket in the data directory. It knows nothing of what is stored in it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	redisserver "github.com/alicebob/miniredis/v2/server"
	"github.com/gofrs/flock"

	"gatehouse/kv/redisconn"
)

const (
	socketName = "redis.sock"
	// lockName is the file that holds the process id of the server that owns the directory. The file
	// stays; the lock on it ends with the process.
	lockName = "redis.lock"
	// stagingName is a private directory in which the socket is created.
	stagingName = "redis.new"
)

// ErrDirectoryInUse means that another process serves its embedded Redis from the directory.
var ErrDirectoryInUse = errors.New("in use by another gatehouse server")

// ErrNotListening means that a process has locked the directory but does not listen on its socket.
var ErrNotListening = errors.New("the server does not accept connections")

const (
	// startTimeout is how long FindRedis waits for a server that has locked the directory and does not
	// listen yet, which it does immediately afterwards.
	startTimeout = 3 * time.Second
	pollInterval = 20 * time.Millisecond
	// lockTimeout is how long a server tries to lock the directory: a command that looks for a server
	// holds the lock for microseconds.
	lockTimeout = 250 * time.Millisecond
	lockRetry   = 5 * time.Millisecond
)

// Redis is an in-process Redis. Its data is lost when the process ends. It listens on a Unix socket
// that only its owner can open, and on no port.
type Redis struct {
	server   *miniredis.Miniredis
	path     string
	lock     *flock.Flock
	listener net.Listener
	accepts  sync.WaitGroup
	closing  sync.Once
}

// StartRedis starts a Redis on a socket in an existing directory. It replaces the socket of a
// process that was killed, and returns ErrDirectoryInUse if its owner still runs.
func StartRedis(dir string) (*Redis, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	e := &Redis{server: miniredis.NewMiniRedis(), path: filepath.Join(dir, socketName)}
	if e.lock, err = lockDirectory(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	if e.listener, err = listenPrivate(e.path); err != nil {
		return nil, errors.Join(fmt.Errorf("start the embedded Redis: %w", err), e.lock.Unlock())
	}
	// Without this, keys never expire.
	e.server.ClockTTL(true)
	// A miniredis without a listener starts with its first connection.
	if first, err := e.server.Dial(); err == nil {
		_ = first.Close()
	}
	e.server.Server().SetPreHook(refuseUnsafe)
	e.accepts.Go(e.accept)
	return e, nil
}

// lockDirectory makes this process the directory's only server. The operating system releases the lock when the
// process ends in any way, so a socket in a directory that can be locked is stale.
func lockDirectory(path string) (*flock.Flock, error) {
	lock := flock.New(path, flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	locked, err := lock.TryLockContext(ctx, lockRetry)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("lock the directory of the embedded Redis: %w", err)
	}
	if !locked {
		return nil, fmt.Errorf("%w (%s)", ErrDirectoryInUse, lockOwner(path))
	}
	// For the error above. Best effort: some systems do not allow writing a locked file.
	_ = os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	return lock, nil
}

// listenPrivate returns a listener on a socket with mode 0600. bind(2) creates sockets with a mode
// that depends on the umask, so this one is created in a directory with mode 0700 and then renamed
// to path, replacing what is there.
func listenPrivate(path string) (net.Listener, error) {
	staging := filepath.Join(filepath.Dir(path), stagingName)
	if err := os.RemoveAll(staging); err != nil {
		return nil, err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(staging)
	staged := filepath.Join(staging, "s")
	listener, err := redisconn.ListenUnix(staged)
	if err != nil {
		return nil, err
	}
	err = os.Chmod(staged, 0o600)
	if err == nil {
		err = os.Rename(staged, path)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// unsafeCommands are miniredis commands that panic on out-of-range arguments, which would end the
// process. Gatehouse uses none of them.
var unsafeCommands = map[string]bool{"SETRANGE": true, "HRANDFIELD": true, "SSCAN": true, "ZSCAN": true}

// refuseUnsafe answers unsafeCommands with an error, also when scripts call them.
func refuseUnsafe(client *redisserver.Peer, name string, _ ...string) bool {
	if unsafeCommands[name] {
		client.WriteError("ERR the embedded Redis does not support " + name)
	}
	return unsafeCommands[name]
}

func (e *Redis) accept() {
	server := e.server.Server()
	for {
		c, err := e.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			server.ServeConn(newCheckedConn(c))
		}
	}
}

// URL returns the unix:// URL of database 0.
func (e *Redis) URL() string { return unixURL(e.path) }

// Close stops the server and discards its data.
func (e *Redis) Close() {
	e.closing.Do(func() {
		_ = e.listener.Close()
		e.accepts.Wait()
		e.server.Close()
		_ = os.Remove(e.path) // before the lock goes: afterwards it may be another server's
		_ = e.lock.Close()
	})
}

// FindRedis returns the URL of the embedded Redis that another process serves from the directory, or
// "" if none does. A process that has locked the directory but does not listen is starting or ending:
// FindRedis waits up to startTimeout for either, and then returns ErrNotListening. Any error means
// that there may be a server.
func FindRedis(ctx context.Context, dir string) (string, error) {
	return findRedis(ctx, dir, startTimeout)
}

func findRedis(ctx context.Context, dir string, wait time.Duration) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, socketName))
	if err != nil {
		return "", err
	}
	lock := filepath.Join(dir, lockName)
	for deadline := time.Now().Add(wait); ; {
		if listens, err := isListening(ctx, path); err != nil {
			return "", err
		} else if listens {
			return unixURL(path), nil
		}
		locked, err := isLocked(lock)
		if err != nil || !locked {
			return "", err
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%w: %s has locked %s; try again once the server has started", ErrNotListening, lockOwner(lock), lock)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// isListening reports whether a process listens on the socket. An error means that this is unknown.
func isListening(ctx context.Context, path string) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	c, err := redisconn.DialUnix(ctx, net.Dialer{Timeout: redisconn.DialTimeout}, path)
	switch {
	case err == nil:
		_ = c.Close()
		return true, nil
	case errors.Is(err, syscall.EAGAIN): // the socket's accept queue is full
		return true, nil
	case redisconn.IsTimeout(err), errors.Is(err, os.ErrPermission):
		return false, err
	}
	return false, nil
}

// isLocked reports whether a process holds the lock of lockDirectory, which retries while this
// function briefly holds it.
func isLocked(path string) (bool, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrPermission) {
		return false, err
	} else if err != nil {
		return false, nil // no server has ever run here
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("check the lock of the embedded Redis: %w", err)
	}
	return !free, lock.Close()
}

// lockOwner names the process that has locked the file, if known.
func lockOwner(path string) string {
	text, _ := os.ReadFile(path)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

func unixURL(path string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/data
	}
	return (&url.URL{Scheme: "unix", Path: slashed}).String()
}
