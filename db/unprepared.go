package db

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/lib/pq"
)

// unprepared connects without prepared statements on the server: a pooler in transaction mode
// gives each transaction another connection, on which the statement is unknown. lib/pq's
// BinaryParameters, which cfg must have, sends a statement and its arguments together, in one
// round trip.
type unprepared struct{ driver.Connector }

func (u unprepared) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := u.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	whole, ok := c.(wholeConn)
	if !ok {
		return nil, errors.Join(errors.New("lib/pq: the connection lacks a method"), c.Close())
	}
	return unpreparedConn{whole}, nil
}

// wholeConn is what lib/pq's connections can do and database/sql looks for.
type wholeConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type unpreparedConn struct{ wholeConn }

// PrepareContext asks the server nothing: the statement is sent when it is run.
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

// NumInput leaves counting to the server.
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

// Exec and Query are the forms without a context, which database/sql does not use.
func (s unpreparedStmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.ErrUnsupported
}

func (s unpreparedStmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.ErrUnsupported
}

// connector returns lib/pq's, without prepared statements if cfg says so.
func connector(cfg pq.Config, d pq.Dialer) (driver.Connector, error) {
	c, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.Dialer(d)
	if cfg.BinaryParameters {
		return unprepared{c}, nil
	}
	return c, nil
}
