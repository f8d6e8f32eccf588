package auth

import (
	"sort"
	"strings"
)

// ValidationErrors maps the name of an invalid input to a message for the person who entered it. Callers
// whose forms name the input differently Rename it.
type ValidationErrors map[string]string

func (f ValidationErrors) Error() string {
	fields := make([]string, 0, len(f))
	for field := range f {
		fields = append(fields, field)
	}
	sort.Strings(fields)
	return "invalid " + strings.Join(fields, ", ")
}

// orNil returns nil if there are no errors, so that callers can return it as an error.
func (f ValidationErrors) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

func checked(field, value string, canonical func(string) (string, error), wrong ValidationErrors) string {
	v, err := canonical(value)
	if err != nil {
		wrong[field] = err.Error()
	}
	return v
}

// Rename renames an input to what a form or request body calls it.
func (f ValidationErrors) Rename(from, to string) {
	if message, ok := f[from]; ok {
		delete(f, from)
		f[to] = message
	}
}
