package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/joho/godotenv"
)

// EnvFile is the file with variables in the working directory that ReadEnvFile reads.
const EnvFile = ".env"

// maxEnvFile is the maximum size of the file in bytes.
const maxEnvFile = 64 << 10

// ReadEnvFile sets the variables in the file, if it exists, that the environment does not set, and returns which of the
// given ones it set. Its error never quotes the file, which contains secrets.
func ReadEnvFile(path string, settings []string) (set []string, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() { // a Python environment, for example
		return nil, nil
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxEnvFile) { // reading a named pipe would never end
		return nil, fmt.Errorf("%s must be a file of at most %d KiB", path, maxEnvFile>>10)
	}
	if err == nil && info.Mode()&0o002 != 0 {
		return nil, fmt.Errorf("%s can be changed by every user of this machine: run chmod o-w %s", path, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, errors.Unwrap(err))
	}
	values, line := parseEnvFile(string(text))
	if line > 0 {
		return nil, fmt.Errorf("%s: line %d is not NAME=value", path, line)
	}
	for name, value := range values {
		if _, ok := os.LookupEnv(name); ok {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("%s: set %s: %w", path, name, err)
		}
		if value != "" && slices.Contains(settings, name) {
			set = append(set, name)
		}
	}
	return set, nil
}

// parseEnvFile returns the variables, or the number of the first line that cannot be read.
func parseEnvFile(text string) (values map[string]string, line int) {
	text = strings.TrimPrefix(text, "\ufeff")
	if values, ok := unmarshalEnv(text); ok {
		return values, 0
	}
	// Find the longest beginning that can be read: a quoted value may have several lines.
	lines := strings.SplitAfter(text, "\n")
	for n := len(lines) - 1; n >= 0; n-- {
		if _, ok := unmarshalEnv(strings.Join(lines[:n], "")); ok {
			return nil, n + 1
		}
	}
	return nil, 1
}

// variableName matches the names that shells accept.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// unmarshalEnv returns the variables; ok is false if the text, or a name in it, is invalid.
func unmarshalEnv(text string) (values map[string]string, ok bool) {
	// godotenv would replace $NAME and so cut a password or a key without a message: values are taken as they are.
	const dollar = "\ue000"
	values, err := godotenv.Unmarshal(strings.ReplaceAll(text, "$", dollar))
	for name, value := range values {
		values[name] = strings.ReplaceAll(value, dollar, "$")
		ok = variableName.MatchString(name)
		if !ok {
			return nil, false
		}
	}
	return values, err == nil
}
