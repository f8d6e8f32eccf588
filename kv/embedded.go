package kv

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
)

const (
	embeddedSocket = "redis.sock"
	// embeddedLock holds the process id of the server that has the directory. The file stays behind;
	// the lock on it ends with the process.
	embeddedLock = "redis.lock"
	// embeddedStaging is where a socket is made, out of anybody's reach.
	embeddedStaging = "redis.new"
)

// ErrDirectoryInUse: another process serves its embedded Redis from the directory.
var ErrDirectoryInUse = errors.New("another gatehouse serves from it")

// ErrNotListening: a process has locked the directory and does not listen on its socket.
var ErrNotListening = errors.New("the server does not listen")

const (
	// embeddedWait is how long EmbeddedURL waits for a server that has the directory and does not listen. It listens right
	// after it has locked the directory.
	embeddedWait = 3 * time.Second
	embeddedPoll = 20 * time.Millisecond
	// lockWait is how long a server tries to lock the directory: a command that looks whether there is a server has the
	// lock for microseconds.
	lockWait  = 250 * time.Millisecond
	lockRetry = 5 * time.Millisecond
)

// Embedded is a Redis inside this process, for a machine without one. It keeps nothing when
// the process ends. It listens on a Unix socket that only its owner can open, and on no port.
type Embedded struct {
	server   *miniredis.Miniredis
	path     string
	lock     *flock.Flock
	listener net.Listener
	accepts  sync.WaitGroup
	closing  sync.Once
}

// StartEmbedded starts a Redis on a socket in a directory, which has to exist. The socket of a
// process that was killed is replaced. ErrDirectoryInUse if its owner still runs.
func StartEmbedded(dir string) (*Embedded, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	e := &Embedded{server: miniredis.NewMiniRedis(), path: filepath.Join(dir, embeddedSocket)}
	if e.lock, err = lockEmbedded(filepath.Join(dir, embeddedLock)); err != nil {
		return nil, err
	}
	if e.listener, err = listenPrivately(e.path); err != nil {
		return nil, errors.Join(fmt.Errorf("start the embedded Redis: %w", err), e.lock.Unlock())
	}
	// Without it keys never end.
	e.server.ClockTTL(true)
	// A server that has no listener of its own starts with its first connection.
	if first, err := e.server.Dial(); err == nil {
		_ = first.Close()
	}
	e.server.Server().SetPreHook(refuseUnsafe)
	e.accepts.Go(e.accept)
	return e, nil
}

// lockEmbedded makes this process the directory's only server. The system takes the lock back when the
// process ends, however it ends, so a socket in a directory that can be locked is stale.
func lockEmbedded(path string) (*flock.Flock, error) {
	lock := flock.New(path, flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	locked, err := lock.TryLockContext(ctx, lockRetry)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("lock the directory of the embedded Redis: %w", err)
	}
	if !locked {
		return nil, fmt.Errorf("%w (%s)", ErrDirectoryInUse, lockOwner(path))
	}
	// For the error above; where a locked file cannot be written, it does without.
	_ = os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	return lock, nil
}

// listenPrivately returns a listener on a socket with mode 0600. bind(2) makes sockets with the mode
// that the umask leaves, so this one is made in a directory with mode 0700 and moved to its place
// afterwards, where it replaces what is there.
func listenPrivately(path string) (net.Listener, error) {
	staging := filepath.Join(filepath.Dir(path), embeddedStaging)
	if err := os.RemoveAll(staging); err != nil {
		return nil, err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(staging)
	made := filepath.Join(staging, "s")
	listener, err := listenUnix(made)
	if err != nil {
		return nil, err
	}
	err = os.Chmod(made, 0o600)
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// unsafeCommands are those of miniredis that panic at arguments out of range, which ends the process. Nothing here
// uses them.
var unsafeCommands = map[string]bool{"SETRANGE": true, "HRANDFIELD": true, "SSCAN": true, "ZSCAN": true}

// refuseUnsafe answers unsafeCommands, those of scripts included, in miniredis' place.
func refuseUnsafe(client *redisserver.Peer, name string, _ ...string) bool {
	if unsafeCommands[name] {
		client.WriteError("ERR the embedded Redis does not support " + name)
	}
	return unsafeCommands[name]
}

func (e *Embedded) accept() {
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
func (e *Embedded) URL() string { return unixURL(e.path) }

// Close stops the server and forgets everything.
func (e *Embedded) Close() {
	e.closing.Do(func() {
		_ = e.listener.Close()
		e.accepts.Wait()
		e.server.Close()
		_ = os.Remove(e.path) // before the lock goes: afterwards it may be another server's
		_ = e.lock.Close()
	})
}

// EmbeddedURL returns the URL of the embedded Redis that another process serves from the directory, or ""
// if none does. A process that has the directory but does not listen is about to, or about to end: EmbeddedURL waits up to
// embeddedWait for either, and returns ErrNotListening after that. Any error means that this cannot be known.
func EmbeddedURL(ctx context.Context, dir string) (string, error) {
	return embeddedURL(ctx, dir, embeddedWait)
}

func embeddedURL(ctx context.Context, dir string, wait time.Duration) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, embeddedSocket))
	if err != nil {
		return "", err
	}
	lock := filepath.Join(dir, embeddedLock)
	for deadline := time.Now().Add(wait); ; {
		if listens, err := listensAt(ctx, path); err != nil {
			return "", err
		} else if listens {
			return unixURL(path), nil
		}
		locked, err := isEmbeddedLocked(lock)
		if err != nil || !locked {
			return "", err
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%w: %s has locked %s; run this again when the server has started", ErrNotListening, lockOwner(lock), lock)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(embeddedPoll):
		}
	}
}

// listensAt reports whether a process listens on the socket. The error says that this cannot be known.
func listensAt(ctx context.Context, path string) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	c, err := dialUnix(ctx, net.Dialer{Timeout: dialTimeout}, path)
	switch {
	case err == nil:
		_ = c.Close()
		return true, nil
	case errors.Is(err, syscall.EAGAIN): // more connections are waiting than the socket's queue holds
		return true, nil
	case isTimeout(err), errors.Is(err, os.ErrPermission):
		return false, err
	}
	return false, nil
}

// isEmbeddedLocked reports whether a process has the lock of lockEmbedded, which tries again when this function has the lock
// for a moment.
func isEmbeddedLocked(path string) (bool, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrPermission) {
		return false, err
	} else if err != nil {
		return false, nil // no server has been here
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("look whether a server has the directory: %w", err)
	}
	return !free, lock.Close()
}

// lockOwner names the process that has locked the file, as far as is known.
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
