package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode/utf8"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"gatehouse/auth"
)

// wrapError turns a driver's error into the errors of package auth, and adds the operation. caller is the
// context of the method's caller, limited the one with the statement's timeout.
func (d *DB) wrapError(caller, limited context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s: %w", what, auth.ErrNotFound)
	case errors.Is(caller.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", what, context.Canceled)
	case errors.Is(err, pq.ErrSSLNotSupported):
		return fmt.Errorf("%s: %w", what, errNoTLS)
	case limited.Err() != nil:
		// The drivers report an expired deadline with many different errors.
		return fmt.Errorf("%s: %s: %w: %w", what, d.Name(), auth.ErrUnavailable, limited.Err())
	case isUnavailable(err):
		return fmt.Errorf("%s: %s: %w: %w", what, d.Name(), auth.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// errNoTLS explains pq.ErrSSLNotSupported.
var errNoTLS = errors.New("this Postgres server does not use TLS, but the connection requires it (sslmode=require, the default): " +
	"enable TLS on the server, or, if the network in between is private, add ?sslmode=disable to the URL")

// isUnavailable reports whether the database could not be reached, as opposed to refusing a statement.
func isUnavailable(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return isUnavailableSQLState(e.Code)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return isUnavailableSQLite(e.Code())
	}
	return false
}

// isUnavailableSQLState: see "PostgreSQL Error Codes", appendix A of its manual.
func isUnavailableSQLState(code pqerror.Code) bool {
	switch {
	case code == pqerror.QueryCanceled: // statement_timeout, or an operator
		return true
	case code == pqerror.ObjectNotInPrerequisiteState: // a database that accepts no connections
		return true
	case code == pqerror.ReadOnlySQLTransaction: // a standby, after a failover
		return true
	case strings.HasPrefix(string(code), "57P"): // shutting down, starting up
		return true
	}
	switch code.Class() {
	case "08", // connection exception
		"53", // insufficient resources, too many connections
		"58": // system error, as of a disk
		return true
	}
	return false
}

// isUnavailableSQLite: see https://www.sqlite.org/rescode.html. The low byte of an
// extended code is the primary one.
func isUnavailableSQLite(code int) bool {
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM:
		return true
	}
	return false
}

// isBusy reports whether another process holds the lock of the SQLite file, so that nothing was executed.
func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// uniqueViolation reports whether the error is a violated unique constraint, and names the constraint or
// index if the database does (SQLite does not).
func uniqueViolation(err error) (constraint string, ok bool) {
	if e := pq.As(err, pqerror.UniqueViolation); e != nil {
		return e.Constraint, true
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return "", e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
	}
	return "", false
}

// foreignKeyViolation reports whether the error is a reference to a missing row.
func foreignKeyViolation(err error) bool {
	if pq.As(err, pqerror.ForeignKeyViolation) != nil {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// isStorable reports whether both databases can store the text. Postgres rejects NUL and invalid UTF-8 with
// SQLSTATE 22021, so no row contains such text.
func isStorable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}
