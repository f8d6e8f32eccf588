// Package static embeds the files that pages load: the stylesheet, the script and the images. It knows nothing about
// how they are served.
package static

import "embed"

// FS contains the files by name, without directories.
//
//go:embed *.css *.js *.svg
var FS embed.FS
