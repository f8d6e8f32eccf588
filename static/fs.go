// Package static holds what browsers load beside the pages: the stylesheet, the script and
// the drawings.
package static

import "embed"

// FS holds the files by their names, without folders.
//
//go:embed *.css *.js *.svg
var FS embed.FS
