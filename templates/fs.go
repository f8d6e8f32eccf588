// Package templates holds the HTML of every page.
package templates

import "embed"

// FS holds layout.html, partials/*.html and pages/*.html. A page is the layout, all partials
// and one file of pages, parsed together; the template "layout" is executed with the page's
// struct, and the page defines "main" and, where it has more to say, "head".
//
//go:embed layout.html partials/*.html pages/*.html
var FS embed.FS
