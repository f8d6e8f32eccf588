// Package arch contains only tests: they hold the structure of the code. Packages import each other
// in one direction, stay small, and explain themselves.
package arch
