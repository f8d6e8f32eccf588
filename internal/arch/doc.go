// Package arch holds no code: its test keeps the arrows between the packages pointing down.
package arch
