//go:build race

package testkit

// raceEnabled reports whether this test binary was built with -race.
const raceEnabled = true
