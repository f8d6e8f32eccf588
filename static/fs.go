// Package static embeds the files that pages load: the stylesheet, the script and the images, and those that browsers and
// crawlers look for at fixed addresses. It knows nothing about how they are served.
package static

import "embed"

// FS contains the files by name, without directories.
//
//go:embed *.css *.js *.svg *.ico *.png *.txt *.webmanifest
var FS embed.FS
