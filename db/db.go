// Package db keeps users, groups and permissions in SQL: in Postgres or in a SQLite file. All SQL is in this
// package and in package migrations, and is the same for both databases except for what a dialect holds.
// It must not know HTTP or Redis.
package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
)

// statementTimeout bounds every method whose context has no earlier deadline, so that users get a response,
// if only a 503, within two seconds.
const statementTimeout = 2 * time.Second

// DB is an open database. It implements auth.UserStore and is safe for concurrent use.
type DB struct {
	dialect dialect
	pool    *sqlx.DB
	// stmts holds the prepared *sqlx.Stmt by SQL text. lib/pq needs two round trips
	// for a statement that is not prepared.
	stmts sync.Map
	// writerSlot holds a token for SQLite's single writer; nil for Postgres. Waiting for it is fair and
	// ends with the context, unlike SQLite's own waiting.
	writerSlot chan struct{}
	computed   computedFill
	// path is the SQLite file; "" for Postgres.
	path string
	// dsn is the URL in the form that lib/pq's listener takes; "" for SQLite. It may contain a password.
	dsn string
	// connect opens another pool on the same database, without a limit on the time of a reply and
	// without a connection pooler, for migrations and Listen. The caller closes it.
	connect func() (*sql.DB, error)
}

var _ auth.UserStore = (*DB)(nil)

// Open returns the database that the URL names: postgres://… (or postgresql://…;
// several hosts are allowed, as host1:5432,host2:5432) or sqlite:PATH.
//
// A Postgres server need not be up yet. A SQLite file is created, readable by its owner only, in an existing
// directory. No error contains the URL, which may contain a password.
func Open(ctx context.Context, url string, options ...Option) (*DB, error) {
	var o openOptions
	for _, option := range options {
		option(&o)
	}
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(ctx, path)
	}
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		return openPostgres(url, o.listenURL)
	}
	return nil, errScheme
}

var errScheme = errors.New("must be postgres://… or sqlite:PATH")

// CheckURL returns what is wrong with the form of a database URL, in words that do not contain it. It does not connect.
func CheckURL(url string) error {
	switch {
	case strings.HasPrefix(url, "sqlite:"):
		return nil
	case strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://"):
		_, err := postgresConfig(url)
		return err
	}
	return errScheme
}

// Option changes how Open connects.
type Option func(*openOptions)

type openOptions struct{ listenURL string }

// ListenURL is a direct URL of the same Postgres, for a database URL that leads through a pooler in
// transaction mode. Such a pooler supports neither LISTEN nor advisory locks of sessions nor prepared
// statements, so with a listen URL the pool prepares none. "" changes nothing.
func ListenURL(url string) Option { return func(o *openOptions) { o.listenURL = url } }

// Name returns "Postgres" or "SQLite", as pages show it.
func (d *DB) Name() string { return d.dialect.name }

// Close ends all connections.
func (d *DB) Close() error { return d.pool.Close() }

// Stats returns the state of the pool.
func (d *DB) Stats() sql.DBStats { return d.pool.Stats() }

// Ping checks that the database answers. Otherwise its error wraps auth.ErrUnavailable.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	return d.read(ctx, "ping", `SELECT 1`, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &one)
	})
}

// read runs one statement that changes nothing. It is retried once if the connection broke.
func (d *DB) read(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	return d.statement(ctx, what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		err := run(ctx, s)
		if errors.Is(err, driver.ErrBadConn) && ctx.Err() == nil {
			return run(ctx, s)
		}
		return err
	})
}

// write runs one statement that changes rows, in its own transaction.
//
// The transaction is needed for broken connections: database/sql retries a single statement on another
// connection when lib/pq reports the first as broken, which lib/pq does even if the server may have
// executed it. In a transaction only BEGIN is retried, which detects connections that died while idle.
func (d *DB) write(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	return d.transaction(ctx, what, query, nil, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
		return run(ctx, tx.StmtxContext(ctx, s))
	})
}

// transaction runs several statements; query is the one that is prepared. Its error wraps
// auth.ErrNotWritten unless the COMMIT was sent.
func (d *DB) transaction(ctx context.Context, what, query string, options *sql.TxOptions, run func(context.Context, *sqlx.Tx, *sqlx.Stmt) error) error {
	committing := false
	err := d.statement(ctx, what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		release, err := d.acquireWriter(ctx)
		if err != nil {
			return err
		}
		defer release()
		tx, err := d.pool.BeginTxx(ctx, options)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := run(ctx, tx, s); err != nil {
			return err
		}
		committing = true
		return tx.Commit()
	})
	if err != nil && !committing {
		return fmt.Errorf("%w (%w)", err, auth.ErrNotWritten)
	}
	return err
}

// statement prepares and runs one SQL statement within its time limit, and counts it with its waiting time
// in the request's statistics. Its error names the operation.
func (d *DB) statement(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	start := time.Now()
	defer func() { reqstats.FromContext(ctx).AddSQL(time.Since(start)) }()

	limited, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	err := d.try(limited, query, run)
	for isBusy(err) && limited.Err() == nil {
		err = d.try(limited, query, run)
	}
	return d.wrapError(ctx, limited, what, err)
}

func (d *DB) try(ctx context.Context, query string, run func(context.Context, *sqlx.Stmt) error) error {
	s, err := d.prepared(ctx, query)
	if err != nil {
		return err
	}
	return run(ctx, s)
}

// prepared returns the cached statement, or prepares it.
func (d *DB) prepared(ctx context.Context, query string) (*sqlx.Stmt, error) {
	if s, ok := d.stmts.Load(query); ok {
		return s.(*sqlx.Stmt), nil
	}
	s, err := d.pool.PreparexContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := d.stmts.LoadOrStore(query, s); loaded {
		_ = s.Close()
		return first.(*sqlx.Stmt), nil
	}
	return s, nil
}

// acquireWriter waits for the writer slot of this process, and returns the function that releases it.
func (d *DB) acquireWriter(ctx context.Context) (release func(), err error) {
	if d.writerSlot == nil {
		return func() {}, nil
	}
	select {
	case d.writerSlot <- struct{}{}:
		return func() { <-d.writerSlot }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other writers: %w", ctx.Err())
	}
}
