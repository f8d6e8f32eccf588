package auth

import "net/netip"

// Client is who asks, as far as one can know without a sign-in.
type Client struct {
	Address netip.Addr
	// DeviceCookies are the values that have the shape of the cookie that a sign-in left: see
	// IsDeviceCookie.
	DeviceCookies []string
	// SessionID is the id of the session that the visitor is signed in by, if any.
	SessionID string
	// Epoch is that of the session; 0 without one.
	Epoch int64
}

// network returns what the throttle counts for the visitor's address: IPv6 by /64,
// which is what one customer gets.
func (v Client) network() string {
	a := v.Address.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}
