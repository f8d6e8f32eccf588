package redisconn

import (
	"context"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is the longest path in bytes that a socket address holds on every system: 104 on macOS
// and the BSDs (108 on Linux and Windows), less the NUL at the end.
const maxSocketPath = 103

// DialUnix connects to a Unix socket with a path of any length.
func DialUnix(ctx context.Context, dialer net.Dialer, path string) (net.Conn, error) {
	return withShortPath(path, path, func(short string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", short) })
}

// ListenUnix creates a Unix socket with a path of any length. Closing the listener does not remove the file.
func ListenUnix(path string) (*net.UnixListener, error) {
	dir, name := filepath.Split(path)
	return withShortPath(path, filepath.Clean(dir), func(short string) (*net.UnixListener, error) {
		if short != path {
			short = filepath.Join(short, name)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		if err == nil {
			l.SetUnlinkOnClose(false)
		}
		return l, err
	})
}

// withShortPath calls use with the path or, if that is too long for a socket address, with a short
// symbolic link to target, which is removed when use returns.
func withShortPath[T any](path, target string, use func(short string) (T, error)) (result T, err error) {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := os.MkdirTemp("", "gatehouse")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir)
	link := filepath.Join(dir, "l")
	if err := os.Symlink(target, link); err != nil {
		return result, err
	}
	return use(link)
}
