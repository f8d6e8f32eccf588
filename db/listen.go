package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Change is a committed change of a user's row, groups or permissions.
type Change struct {
	// UserID is a user's id, or auth.AllUsers.
	UserID string
	// At is when the change was made, shortly before its commit; zero if unknown.
	At time.Time
}

// Listener receives the changes that any process makes. Its methods are called sequentially and must not
// block.
type Listener interface {
	// Connected is called when a subscription is in effect. Earlier changes may have been missed.
	Connected()
	// Changed is called soon after each commit.
	Changed(Change)
	// Disconnected is called when changes may be missed until the next call of Connected.
	Disconnected(err error)
	// Reachable reports, about once a second, whether the database answers.
	Reachable(bool)
}

// ErrNotDelivered means that notifications do not arrive although the database accepted them.
var ErrNotDelivered = errors.New("notifications do not arrive although the database accepts them; " +
	"if DATABASE_URL leads through a pooler in transaction mode, set DATABASE_LISTEN_URL to a direct connection; " +
	"after a failover, make sure that both lead to the new primary")

const (
	// channel is where triggers announce changes; see package migrations.
	channel = "gatehouse_users"
	// Reconnecting backs off exponentially from minReconnect to maxReconnect.
	minReconnect = 100 * time.Millisecond
	maxReconnect = 2 * time.Second
	// canaryInterval is the interval of the canaries: notifications sent through the pool, whose arrival
	// proves that every change committed before has arrived.
	canaryInterval = time.Second
	// maxCanaryAge is how long that proof is valid, from when the canary was sent. It bounds how long an
	// undelivered change can go unnoticed.
	maxCanaryAge = 2 * time.Second
)

// Listen passes changes to l until ctx ends: notifications from Postgres, or what it finds by polling the
// SQLite file forty times a second. Its statements are not counted for any request.
func (d *DB) Listen(ctx context.Context, l Listener) {
	if d.path != "" {
		d.listenSQLite(ctx, l)
		return
	}
	c := newCanary(d)
	defer c.close()
	for ctx.Err() == nil {
		err := d.listenPostgres(ctx, l, c)
		if ctx.Err() != nil {
			return
		}
		l.Disconnected(err)
		if errors.Is(err, ErrNotDelivered) {
			l.Reachable(true)
		}
		select {
		case <-ctx.Done():
		case <-time.After(minReconnect):
		}
	}
}

// CheckListening checks for a few seconds whether changes arrive, and returns why if they do not.
func (d *DB) CheckListening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*maxCanaryAge)
	defer cancel()
	check := listenCheck{make(chan error, 2)}
	var listening sync.WaitGroup
	listening.Go(func() { d.Listen(ctx, check) })
	defer listening.Wait()
	defer cancel()
	var err error
	for range cap(check.result) { // a busy machine may exceed the first time limit
		select {
		case err = <-check.result:
			if err == nil {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("listen for changes: %w", ctx.Err())
		}
	}
	return err
}

// listenCheck is a Listener that reports the first events as errors or nil.
type listenCheck struct{ result chan error }

func (c listenCheck) report(err error) {
	select {
	case c.result <- err:
	default:
	}
}

func (c listenCheck) Connected()             { c.report(nil) }
func (c listenCheck) Disconnected(err error) { c.report(err) }
func (c listenCheck) Changed(Change)         {}
func (c listenCheck) Reachable(bool)         {}
