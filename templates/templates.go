// Package templates holds the pages as typed components: each page is a function of a struct, and embeds
// the layout. It knows how pages look, and nothing about requests, stores or who may see what.
//
// The *_templ.go files are generated from the *.templ files beside them: run make generate after a change.
package templates

//go:generate go tool -modfile=../tools/go.mod templ generate -log-level error
