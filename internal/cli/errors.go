package cli

import (
	"errors"
	"fmt"
	"strings"

	"gatehouse/auth"
)

// errReported: the command has already printed what is wrong.
var errReported = errors.New("reported")

// refusal returns what a person at a terminal reads about a change that was refused.
func refusal(err error) error {
	var wrong auth.ValidationErrors
	switch {
	case errors.As(err, &wrong):
		return fieldsInOneLine(wrong)
	case errors.Is(err, auth.ErrLastAdministrator):
		return fmt.Errorf("%w; make somebody else an administrator first (gatehouse user join NAME admin), or use --force", auth.ErrLastAdministrator)
	case errors.Is(err, auth.ErrAdminGroup):
		return fmt.Errorf("%w; --force does it nevertheless", auth.ErrAdminGroup)
	case errors.Is(err, auth.ErrGroupNotFound):
		return errors.New("there is no group of this name; nothing was changed (gatehouse group list shows all)")
	}
	return err
}

func fieldsInOneLine(wrong auth.ValidationErrors) error {
	var parts []string
	for field, message := range wrong {
		parts = append(parts, field+": "+message)
	}
	return errors.New(strings.Join(parts, " "))
}
