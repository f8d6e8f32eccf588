//go:build !race

package testkit

// raceEnabled says that this test binary was built with -race.
const raceEnabled = false
