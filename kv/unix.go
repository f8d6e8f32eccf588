package kv

import (
	"context"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is the longest path that a socket's address holds on every system, in octets: 104 on macOS
// and the BSDs (108 on Linux and Windows), less the NUL at the end.
const maxSocketPath = 103

// dialUnix connects to a socket, however long its path is.
func dialUnix(ctx context.Context, dialer net.Dialer, path string) (net.Conn, error) {
	return byShortPath(path, path, func(short string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", short) })
}

// listenUnix makes a socket, however long its path is. Closing the listener leaves the file.
func listenUnix(path string) (*net.UnixListener, error) {
	dir, name := filepath.Split(path)
	return byShortPath(path, filepath.Clean(dir), func(short string) (*net.UnixListener, error) {
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

// byShortPath calls use with the path or, if that is too long for a socket's address, with a short link to
// target, which is there only as long as use runs.
func byShortPath[T any](path, target string, use func(short string) (T, error)) (result T, err error) {
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
