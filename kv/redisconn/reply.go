package redisconn

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"gatehouse/auth"

	"github.com/gomodule/redigo/redis"
)

// Unavailable wraps a failed operation's error with auth.ErrUnavailable.
func Unavailable(what string, err error) error {
	return fmt.Errorf("redis: %s: %w: %w", what, auth.ErrUnavailable, err)
}

// ReplyError returns the error of an error reply, or nil. It wraps auth.ErrUnavailable if Redis
// cannot serve the command at the moment.
func ReplyError(what string, reply any) error {
	refusal, ok := reply.(redis.Error)
	if !ok {
		return nil
	}
	if isTemporary(refusal) {
		return Unavailable(what, refusal)
	}
	return fmt.Errorf("redis: %s: %w", what, refusal)
}

// HasCode reports whether a reply is an error with the code, such as WRONGTYPE.
func HasCode(reply any, code string) bool {
	refusal, ok := reply.(redis.Error)
	return ok && strings.HasPrefix(string(refusal), code+" ")
}

// IsTimeout reports whether an error is an expired deadline.
func IsTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// temporaryCodes are the error codes of a Redis that runs but cannot serve a command at the moment.
var temporaryCodes = map[string]bool{
	"LOADING": true, "MASTERDOWN": true, "READONLY": true, "CLUSTERDOWN": true, "TRYAGAIN": true,
	"OOM": true, "MISCONF": true, "NOREPLICAS": true, "BUSY": true, "NOAUTH": true,
}

func isTemporary(refusal redis.Error) bool {
	text := string(refusal)
	code, _, _ := strings.Cut(text, " ")
	if temporaryCodes[code] || strings.HasPrefix(text, "ERR max number of clients") {
		return true
	}
	// Redis before 7 reports an error inside a script as "ERR Error running script (call to
	// f_…): @user_script:3: OOM command not allowed …".
	_, inner, inScript := strings.Cut(text, "@user_script:")
	_, inner, found := strings.Cut(inner, ": ")
	code, _, _ = strings.Cut(strings.TrimPrefix(inner, "-"), " ")
	return inScript && found && temporaryCodes[code]
}
