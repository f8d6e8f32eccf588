package config

import "strings"

// Faults are the invalid settings: one error each, of one line, which begins with the name of the variable.
type Faults []error

// Error returns one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, err := range f {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the faults, for errors.Is.
func (f Faults) Unwrap() []error { return f }

// Err returns the faults as an error; nil if there are none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// add appends the errors that are not nil.
func (f *Faults) add(errs ...error) {
	for _, err := range errs {
		if err != nil {
			*f = append(*f, err)
		}
	}
}

// SettingOf returns the variable that a fault is about.
func SettingOf(fault error) string {
	name, _, _ := strings.Cut(fault.Error(), " ")
	return strings.TrimSuffix(name, ":")
}
