//go:build !linux

package web

// boundSocket leaves the socket as the system makes it.
func boundSocket(uintptr) error { return nil }
