// Package arch contains only tests. They check the structure of the code: packages import each other
// in one direction, stay small, and have a package comment.
package arch
