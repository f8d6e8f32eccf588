package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

var (
	portMu sync.Mutex
	given  = map[int]bool{}
)

// FreePort returns a TCP port of 127.0.0.1 that nobody listens on and that it did not
// return before. Somebody else may still take it before its user does.
//
// It stays below the range that the kernel takes outgoing ports from: while a server there
// is down, a client that keeps dialling its port can end up connected to itself.
func FreePort() (int, error) {
	portMu.Lock()
	defer portMu.Unlock()
	const low = 12000
	high := max(firstOutgoingPort(), low+5000)
	for range 1000 {
		port := low + rand.IntN(high-low)
		if given[port] || !portIsFree(port) {
			continue
		}
		given[port] = true
		return port, nil
	}
	return 0, errors.New("found no free port on 127.0.0.1")
}

func portIsFree(port int) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func firstOutgoingPort() int {
	var first int
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	fmt.Sscan(string(data), &first)
	return first
}
