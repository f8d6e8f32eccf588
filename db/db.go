// Package db keeps users in SQL: Postgres, or a SQLite file. Every SQL text of the
// program stands here or in package migrations, and is the same for both databases.
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

// statementLimit bounds every method whose context has no nearer deadline: people
// get an answer, if only a 503, within two seconds.
const statementLimit = 2 * time.Second

// DB is an open database. It implements auth.UserStore and is safe for concurrent use.
type DB struct {
	dialect dialect
	pool    *sqlx.DB
	// stmts holds the prepared *sqlx.Stmt by SQL text. lib/pq needs two round trips
	// for a statement that is not prepared.
	stmts sync.Map
	// writing holds a token for the one writer that SQLite admits; nil for Postgres.
	// Waiting here is fair and ends with the context; SQLite's own waiting is neither.
	writing   chan struct{}
	skeletons skeletonFill
	// path is the SQLite file; "" for Postgres.
	path string
	// dsn is the URL as lib/pq's listener reads it; "" for SQLite. It may hold a password.
	dsn string
	// connect opens one more pool on the same database, without a time limit on
	// replies and without a pooler, for migrations and Listen. The caller closes it.
	connect func() (*sql.DB, error)
}

var _ auth.UserStore = (*DB)(nil)

// Open returns the database that the URL names: postgres://… (or postgresql://…;
// several hosts are allowed, as host1:5432,host2:5432) or sqlite:PATH.
//
// A Postgres server need not be up yet. A SQLite file is created, readable by its
// owner only, if its folder exists. No error contains the URL, which may hold a password.
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
	return nil, errors.New("database URL: want postgres://… or sqlite:PATH")
}

// Option changes how Open connects.
type Option func(*openOptions)

type openOptions struct{ listenURL string }

// ListenURL names the same Postgres without a pooler in transaction mode in between, which
// supports neither LISTEN nor the lock of migrations, nor prepared statements: the pool of a
// database with a listen URL uses none. "" changes nothing.
func ListenURL(url string) Option { return func(o *openOptions) { o.listenURL = url } }

// Name returns "Postgres" or "SQLite", as pages show it.
func (d *DB) Name() string { return d.dialect.name }

// Close ends all connections.
func (d *DB) Close() error { return d.pool.Close() }

// Stats returns the state of the pool.
func (d *DB) Stats() sql.DBStats { return d.pool.Stats() }

// Ping asks the database for a sign of life. The error wraps auth.ErrUnavailable
// when there is none.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	return d.read(ctx, "ping", `SELECT 1`, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &one)
	})
}

// read runs one statement that changes nothing. Because it may run twice without
// harm, it is tried again when the connection broke under it.
func (d *DB) read(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	return d.statement(ctx, what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		err := run(ctx, s)
		if errors.Is(err, driver.ErrBadConn) && ctx.Err() == nil {
			return run(ctx, s)
		}
		return err
	})
}

// write runs one statement that changes rows, in a transaction of its own.
//
// The transaction is there for broken connections. database/sql repeats a lone
// statement on another connection when lib/pq reports the first as broken, which
// lib/pq does even when the server may have executed it. In a transaction nothing is
// repeated but BEGIN, which finds the connections that died while idle.
func (d *DB) write(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	return d.transaction(ctx, what, query, nil, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
		return run(ctx, tx.StmtxContext(ctx, s))
	})
}

// transaction runs statements that hold together; query is the first of them. Its error wraps
// auth.ErrNotWritten as long as the database was not told to commit.
func (d *DB) transaction(ctx context.Context, what, query string, options *sql.TxOptions, run func(context.Context, *sqlx.Tx, *sqlx.Stmt) error) error {
	committing := false
	err := d.statement(ctx, what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		done, err := d.startWriting(ctx)
		if err != nil {
			return err
		}
		defer done()
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

// statement prepares and runs one SQL statement within its time limit and counts it
// in the request's Cost, with all the waiting that it caused. Its error says what was tried.
func (d *DB) statement(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	start := time.Now()
	defer func() { reqstats.FromContext(ctx).AddSQL(time.Since(start)) }()

	limited, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	err := d.attempt(limited, query, run)
	for isBusy(err) && limited.Err() == nil {
		err = d.attempt(limited, query, run)
	}
	return d.failure(ctx, limited, what, err)
}

func (d *DB) attempt(ctx context.Context, query string, run func(context.Context, *sqlx.Stmt) error) error {
	s, err := d.prepared(ctx, query)
	if err != nil {
		return err
	}
	return run(ctx, s)
}

// prepared returns the statement from the cache, or prepares it.
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

// startWriting waits for this process' turn to write and returns what ends it.
func (d *DB) startWriting(ctx context.Context) (done func(), err error) {
	if d.writing == nil {
		return func() {}, nil
	}
	select {
	case d.writing <- struct{}{}:
		return func() { <-d.writing }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for other writers: %w", ctx.Err())
	}
}
