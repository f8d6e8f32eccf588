package config

import "runtime/debug"

// version is set by the linker in a release: -X gatehouse/internal/config.version=….
var version = ""

// Version returns the version of this program: that of the release, or "devel" and the commit it was built from.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel " + s.Value
		}
	}
	return "devel"
}
