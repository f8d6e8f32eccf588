package kv

import (
	"context"

	"github.com/gomodule/redigo/redis"
)

// script is a Lua script that works on exactly one key, so that a cluster can run it.
type script struct{ source, sha string }

func newScript(source string) script {
	return script{source, redis.NewScript(1, source).Hash()}
}

// call is one run of a script.
type call struct {
	key  string
	args []any
}

// run runs the script for each call, all in one round trip, and a second one for those that
// Redis answered with NOSCRIPT (after a restart or a SCRIPT FLUSH). A reply may be a redis.Error.
func (r *Redis) run(ctx context.Context, what string, s script, calls ...call) ([]any, error) {
	replies, err := r.exchange(ctx, once(what), evals("EVALSHA", s.sha, calls)...)
	if err != nil {
		return nil, err
	}
	var missed []call
	var places []int
	for i, reply := range replies {
		if hasCode(reply, "NOSCRIPT") {
			missed, places = append(missed, calls[i]), append(places, i)
		}
	}
	if len(missed) == 0 {
		return replies, nil
	}
	again, err := r.exchange(ctx, once(what), evals("EVAL", s.source, missed)...)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		replies[place] = again[i]
	}
	return replies, nil
}

func evals(name, body string, calls []call) []command {
	cmds := make([]command, len(calls))
	for i, c := range calls {
		cmds[i] = command{name, append([]any{body, 1, c.key}, c.args...)}
	}
	return cmds
}
