package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"gatehouse/auth"
)

// errReported is the error of a command that has already printed what went wrong.
var errReported = errors.New("reported")

// Report prints the error of a command, unless the command did, and returns the exit code.
func Report(ctx context.Context, err error, w io.Writer) int {
	if err == nil {
		return 0
	}
	code := exitCode(ctx, err)
	if _, named := errors.AsType[interruption](err); code > 1 && !named {
		err = fmt.Errorf("interrupted: %w", err)
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(w, "gatehouse:", err)
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
	return 1
}

// userMessage returns an error in the words for a person at a terminal.
func userMessage(err error) error {
	var invalid auth.ValidationErrors
	switch {
	case errors.As(err, &invalid):
		return oneLine(invalid)
	case errors.Is(err, auth.ErrLastAdministrator):
		return fmt.Errorf("%w; make someone else an administrator first (gatehouse user join NAME admin), or use --force", auth.ErrLastAdministrator)
	case errors.Is(err, auth.ErrAdminGroup):
		return fmt.Errorf("%w; --force overrides this", auth.ErrAdminGroup)
	case errors.Is(err, auth.ErrGroupNotFound):
		return errors.New("there is no such group; nothing was changed (gatehouse group list shows all groups)")
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
