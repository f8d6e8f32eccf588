package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"gatehouse/auth"
	"gatehouse/internal/config"
)

// errReported is the error of a command that has already printed what went wrong.
var errReported = errors.New("reported")

// usageError is the error of arguments that no command understands.
type usageError struct {
	error
	command string // with a space before each word
}

func (u usageError) Unwrap() error { return u.error }

// usageCode is the exit code after a usageError, as shells and GNU's tools use it.
const usageCode = 2

// Report prints the error of a command, unless the command did, and returns the exit code.
func Report(ctx context.Context, err error, w io.Writer) int {
	if err == nil {
		return 0
	}
	code := exitCode(ctx, err)
	if _, named := errors.AsType[interruption](err); code > 128 && !named {
		err = fmt.Errorf("interrupted: %w", err)
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		err = fmt.Errorf("%w (%s%s --help explains the usage)", usage.error, config.ProgramName(), usage.command)
	}
	if errors.Is(err, errReported) {
		return code
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(w, "gatehouse:", strings.TrimSuffix(line, "\n"))
	}
	return code
}

// exitCode returns the exit code of a failed command: 128 plus the signal's number if a signal ended it, as shells
// report it.
func exitCode(ctx context.Context, err error) int {
	if i, ok := errors.AsType[interruption](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		if s, ok := i.signal.(syscall.Signal); ok {
			return 128 + int(s)
		}
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return usageCode
	}
	return 1
}

// userMessage returns an error in the words for a person at a terminal.
func userMessage(err error) error {
	var invalid auth.ValidationErrors
	switch {
	case errors.As(err, &invalid):
		return oneLine(invalid)
	case errors.Is(err, auth.ErrLastAdministrator):
		return fmt.Errorf("%w; make someone else an administrator first (%s user join NAME admin), or use --force", auth.ErrLastAdministrator, config.ProgramName())
	case errors.Is(err, auth.ErrAdminGroup):
		return fmt.Errorf("%w; --force overrides this", auth.ErrAdminGroup)
	case errors.Is(err, auth.ErrGroupNotFound):
		return fmt.Errorf("there is no such group; nothing was changed (%s group list shows all groups)", config.ProgramName())
	}
	return err
}

// oneLine joins the messages of all fields in the order of the fields' names.
func oneLine(invalid auth.ValidationErrors) error {
	var parts []string
	for field, message := range sortedByKey(invalid) {
		parts = append(parts, field+": "+message)
	}
	return errors.New(strings.Join(parts, " "))
}
