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
	portMu    sync.Mutex
	usedPorts = map[int]bool{}
)

// FreePort returns an unused TCP port of 127.0.0.1, a different one on each call. Another process
// may still take it before the caller does.
//
// The port is below the kernel's range for outgoing connections: a client that keeps dialing a
// port in that range while its server is down can end up connected to itself.
func FreePort() (int, error) {
	portMu.Lock()
	defer portMu.Unlock()
	const low = 12000
	high := max(firstOutgoingPort(), low+5000)
	for range 1000 {
		port := low + rand.IntN(high-low)
		if usedPorts[port] || !portIsFree(port) {
			continue
		}
		usedPorts[port] = true
		return port, nil
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

func portIsFree(port int) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// firstOutgoingPort returns the start of the range for outgoing connections; 0 if unknown.
func firstOutgoingPort() int {
	var first int
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	fmt.Sscan(string(data), &first)
	return first
}
