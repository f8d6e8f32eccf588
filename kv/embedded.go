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
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the directory of the embedded Redis: %w", err)
	}
	if !locked {
		owner, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(owner))); err == nil {
			return nil, fmt.Errorf("%w (process %d)", ErrDirectoryInUse, pid)
		}
		return nil, ErrDirectoryInUse
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
// if none does. The error says that this cannot be known.
func EmbeddedURL(ctx context.Context, dir string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, embeddedSocket))
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	lock := filepath.Join(dir, embeddedLock)
	c, err := dialUnix(ctx, net.Dialer{Timeout: dialTimeout}, path)
	switch {
	case err == nil:
		_ = c.Close()
		return unixURL(path), nil
	case isTimeout(err), errors.Is(err, os.ErrPermission):
		return "", err
	}
	// Nobody listens. The owner may be about to, or to end: the socket comes before the lock goes.
	_ = lock
	return "", nil
}

func unixURL(path string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/data
	}
	return (&url.URL{Scheme: "unix", Path: slashed}).String()
}
