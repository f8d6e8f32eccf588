package auth

import "net/netip"

// Client is what is known about the sender of a request before it is authenticated.
type Client struct {
	Address netip.Addr
	// DeviceCookies are the well-formed device cookies of the request; see IsDeviceCookie.
	DeviceCookies []string
	// SessionID is the id of the request's session, if any.
	SessionID string
	// Epoch is that of the session; 0 without one.
	Epoch int64
	// TimeZone is what the browser says is its zone; "" if it does not. It can be any text.
	TimeZone string
}

// network returns the rate-limit key of the client's address: the /64 of an IPv6 address, which is what
// one customer gets.
func (v Client) network() string {
	a := v.Address.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}
