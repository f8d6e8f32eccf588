package db

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/lib/pq"
)

// unpreparedConnector connects without prepared statements on the server: a pooler in transaction mode gives
// each transaction a different connection, which does not have the statement. It needs lib/pq's
// BinaryParameters, which sends a statement with its arguments in one round trip.
type unpreparedConnector struct{ driver.Connector }

func (u unpreparedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := u.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := c.(pqConn)
	if !ok {
		return nil, errors.Join(errors.New("lib/pq: the connection lacks a method"), c.Close())
	}
	return unpreparedConn{full}, nil
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

type unpreparedConn struct{ pqConn }

// PrepareContext sends nothing: the statement is sent when it is run.
func (c unpreparedConn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return unpreparedStmt{c, query}, nil
}

func (c unpreparedConn) Prepare(query string) (driver.Stmt, error) {
	return unpreparedStmt{c, query}, nil
}

type unpreparedStmt struct {
	conn  unpreparedConn
	query string
}

var (
	_ driver.StmtExecContext   = unpreparedStmt{}
	_ driver.StmtQueryContext  = unpreparedStmt{}
	_ driver.NamedValueChecker = unpreparedStmt{}
)

func (s unpreparedStmt) Close() error { return nil }

// NumInput returns -1: the server checks the number of arguments.
func (s unpreparedStmt) NumInput() int { return -1 }

func (s unpreparedStmt) CheckNamedValue(v *driver.NamedValue) error {
	return s.conn.CheckNamedValue(v)
}

func (s unpreparedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

func (s unpreparedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}

// Exec is the form without a context, which database/sql does not use. So is Query.
func (s unpreparedStmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.ErrUnsupported
}

func (s unpreparedStmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.ErrUnsupported
}

// connector returns lib/pq's connector, without prepared statements if cfg demands BinaryParameters.
func connector(cfg pq.Config, d pq.Dialer) (driver.Connector, error) {
	c, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.Dialer(d)
	if cfg.BinaryParameters {
		return unpreparedConnector{c}, nil
	}
	return c, nil
}
