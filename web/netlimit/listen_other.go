//go:build !linux

package netlimit

// limitSocket keeps the system's defaults.
func limitSocket(uintptr) error { return nil }
