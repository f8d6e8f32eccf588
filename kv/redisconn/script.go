package redisconn

import (
	"context"

	"github.com/gomodule/redigo/redis"
)

// Script is a Lua script that works on exactly one key, so that a cluster can run it.
type Script struct{ source, sha string }

// NewScript returns the script of a Lua source.
func NewScript(source string) Script {
	return Script{source, redis.NewScript(1, source).Hash()}
}

// ScriptCall is one run of a script.
type ScriptCall struct {
	key  string
	args []any
}

// Call returns a run of a script on a key.
func Call(key string, args ...any) ScriptCall { return ScriptCall{key, args} }

// RunScript runs the script once per call, in one round trip, and in a second one those calls that
// Redis answered with NOSCRIPT (after a restart or a SCRIPT FLUSH). A reply may be a redis.Error.
// Nothing is retried.
func (p *Pool) RunScript(ctx context.Context, what string, s Script, calls ...ScriptCall) ([]any, error) {
	replies, err := p.Exchange(ctx, Once(what), evals("EVALSHA", s.sha, calls)...)
	if err != nil {
		return nil, err
	}
	var missed []ScriptCall
	var positions []int
	for i, reply := range replies {
		if HasCode(reply, "NOSCRIPT") {
			missed, positions = append(missed, calls[i]), append(positions, i)
		}
	}
	if len(missed) == 0 {
		return replies, nil
	}
	evaluated, err := p.Exchange(ctx, Once(what), evals("EVAL", s.source, missed)...)
	if err != nil {
		return nil, err
	}
	for i, position := range positions {
		replies[position] = evaluated[i]
	}
	return replies, nil
}

func evals(name, body string, calls []ScriptCall) []Command {
	cmds := make([]Command, len(calls))
	for i, c := range calls {
		cmds[i] = Command{name, append([]any{body, 1, c.key}, c.args...)}
	}
	return cmds
}
