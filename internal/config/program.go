package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// goRun matches the executables of `go run`, in its temporary directory or in its cache.
var goRun = regexp.MustCompile(`/go-build\d+/b001/exe/[^/]+$|/[0-9a-f]{2}/[0-9a-f]{64}-d/[^/]+$`)

// Program returns what people type to run this program: "go run ." if they did, or else the path or name by which they
// called it.
func Program() string { return program(os.Args[0]) }

func program(called string) string {
	slashed := filepath.ToSlash(called)
	switch {
	case goRun.MatchString(slashed):
		return "go run ."
	case called == "" || strings.HasSuffix(slashed, ".test"):
		return "gatehouse"
	case strings.ContainsAny(called, " \t'\"$\\"):
		return "'" + strings.ReplaceAll(called, "'", `'\''`) + "'"
	}
	return called
}

// ProgramName is Program without the directory of an absolute path, for hints in which the path would hide the command.
func ProgramName() string {
	if p := Program(); !filepath.IsAbs(p) {
		return p
	}
	return filepath.Base(os.Args[0])
}
