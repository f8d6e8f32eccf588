// Package unprepared connects to Postgres through lib/pq without prepared statements on the server.
package unprepared

import (
	"context"
	"database/sql/driver"
	"errors"
)

// New returns a connector like lib/pq's c that prepares no statements.
func New(c driver.Connector) driver.Connector { return connector{c} }

// connector connects without prepared statements on the server: a pooler in transaction mode gives
// each transaction a different connection, which does not have the statement. It needs lib/pq's
// BinaryParameters, which sends a statement with its arguments in one round trip.
type connector struct{ driver.Connector }

func (u connector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := u.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := c.(pqConn)
	if !ok {
		return nil, errors.Join(errors.New("lib/pq: the connection lacks a method"), c.Close())
	}
	return conn{full}, nil
}

// pqConn lists the methods of lib/pq's connections that database/sql uses.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type conn struct{ pqConn }

// PrepareContext sends nothing: the statement is sent when it is run.
func (c conn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return stmt{c, query}, nil
}

func (c conn) Prepare(query string) (driver.Stmt, error) {
	return stmt{c, query}, nil
}

type stmt struct {
	conn  conn
	query string
}

var (
	_ driver.StmtExecContext   = stmt{}
	_ driver.StmtQueryContext  = stmt{}
	_ driver.NamedValueChecker = stmt{}
)

func (s stmt) Close() error { return nil }

// NumInput returns -1: the server checks the number of arguments.
func (s stmt) NumInput() int { return -1 }

func (s stmt) CheckNamedValue(v *driver.NamedValue) error {
	return s.conn.CheckNamedValue(v)
}

func (s stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

func (s stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}

// Exec is the form without a context, which database/sql does not use. So is Query.
func (s stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.ErrUnsupported
}

func (s stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.ErrUnsupported
}
