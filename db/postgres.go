package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/pressly/goose/v3"

	"gatehouse/db/unprepared"
)

const (
	// postgresConns is the size of the pool, busy or idle: database/sql's default of two idle connections
	// costs more than a query.
	postgresConns = 16
	// replyTimeout bounds the wait for each read of a reply. lib/pq waits forever for an unresponsive server
	// (a stopped machine, a cut cable), regardless of the context, so it is below statementTimeout.
	replyTimeout = 1500 * time.Millisecond
	// maxIdleTime is how long an unused connection stays open.
	maxIdleTime = 5 * time.Minute
)

var postgresDialect = dialect{
	name:       "Postgres",
	goose:      goose.DialectPostgres,
	migrations: "postgres",
	hasTable:   `SELECT to_regclass($1) IS NOT NULL`,
	lastSignIn: "coalesce(last_sign_in_at, to_timestamp(0))",

	administratorTxOptions: readCommitted,
	// Adding a member locks the group FOR KEY SHARE (foreign key), which conflicts only with FOR UPDATE.
	lockGroup:  `SELECT name FROM groups WHERE name = $1 FOR UPDATE`,
	lockRows:   ` FOR UPDATE`,
	skipLocked: ` FOR UPDATE SKIP LOCKED`,
	castUUID:   `::uuid`,
}

// openPostgres opens the database of rawURL. directURL is a URL of it that leads through no pooler, for LISTEN
// and migrations; "" if rawURL leads through none.
func openPostgres(rawURL, directURL string) (*DB, error) {
	cfg, err := postgresConfig(rawURL)
	if err != nil {
		return nil, err
	}
	direct := cfg
	if directURL == "" {
		directURL = rawURL
	} else if direct, err = postgresConfig(directURL); err != nil {
		return nil, fmt.Errorf("listen URL: %w", err)
	} else {
		cfg.BinaryParameters = true
	}
	pool, err := postgresPool(cfg, replyTimeout)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(postgresConns)
	pool.SetMaxIdleConns(postgresConns)
	pool.SetConnMaxIdleTime(maxIdleTime)
	dsn, err := listenerDSN(directURL)
	if err != nil {
		return nil, err
	}
	return &DB{
		dialect:  postgresDialect,
		pool:     sqlx.NewDb(pool, "postgres"),
		dsn:      dsn,
		connect:  func() (*sql.DB, error) { return postgresPool(direct, 0) },
		computed: newComputedFill(),
	}, nil
}

// postgresPool returns a pool whose connections time out after reply, or never for 0.
func postgresPool(cfg pq.Config, reply time.Duration) (*sql.DB, error) {
	c, err := connector(cfg, dialer{replyTimeout: reply})
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// postgresConfig parses the URL and adds Gatehouse's defaults.
func postgresConfig(rawURL string) (pq.Config, error) {
	rest, hosts, err := cutHosts(rawURL)
	if err != nil {
		return pq.Config{}, err
	}
	// lib/pq's own error quotes the URL.
	parsed, err := url.Parse(rest)
	if err != nil {
		_, path, _ := strings.Cut(rest[strings.Index(rest, "://")+3:], "/")
		if strings.Contains(err.Error(), "invalid port") && !strings.Contains(path, "@") {
			return pq.Config{}, errBadPort
		}
		return pq.Config{}, errors.New("invalid URL (special characters in the password must be percent-encoded)")
	}
	if port := parsed.Port(); port != "" && !isPort(port) {
		return pq.Config{}, errBadPort
	}
	cfg, err := pq.NewConfig(rest)
	if err != nil {
		return pq.Config{}, err
	}
	if len(hosts) > 0 {
		cfg.Host, cfg.Port, cfg.Multi = hosts[0].Host, hosts[0].Port, hosts[1:]
	}
	if len(cfg.Multi) > 0 && cfg.TargetSessionAttrs == "" {
		// Of several hosts, choose the one that accepts writes.
		cfg.TargetSessionAttrs = pq.TargetSessionAttrsReadWrite
	}
	if cfg.ConnectTimeout == 0 {
		// Leave time for the next host.
		cfg.ConnectTimeout = replyTimeout / time.Duration(1+len(cfg.Multi))
	}
	if cfg.ApplicationName == "" {
		cfg.ApplicationName = "gatehouse"
	}
	cfg.Runtime = withUTC(cfg.Runtime)
	return cfg, nil
}

// withUTC makes the server send times in UTC.
func withUTC(parameters map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range parameters {
		if !strings.EqualFold(k, "timezone") {
			out[k] = v
		}
	}
	out["timezone"] = "UTC"
	return out
}

// cutHosts removes a list of hosts (host1:5432,host2:5432, as in libpq) from the URL, because net/url, which
// lib/pq uses, rejects it. It returns a URL with one host unchanged.
func cutHosts(rawURL string) (rest string, hosts []pq.ConfigMultihost, err error) {
	scheme, after, _ := strings.Cut(rawURL, "://")
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	at := strings.LastIndexByte(after[:end], '@') + 1
	list := after[at:end]
	if !strings.Contains(list, ",") {
		return rawURL, nil, nil
	}
	for _, host := range strings.Split(list, ",") {
		h, err := splitHost(host)
		if err != nil {
			return "", nil, err
		}
		hosts = append(hosts, h)
	}
	return scheme + "://" + after[:at] + after[end:], hosts, nil
}

// splitHost parses host, host:port, [address] or [address]:port.
func splitHost(s string) (pq.ConfigMultihost, error) {
	if !strings.Contains(s, ":") || strings.HasSuffix(s, "]") {
		s += ":5432"
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return pq.ConfigMultihost{}, errors.New("several hosts must be written as host1:port1,host2:port2")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return pq.ConfigMultihost{}, errBadPort
	}
	return pq.ConfigMultihost{Host: host, Port: uint16(n)}, nil
}

var errBadPort = errors.New("the port is not a number from 1 to 65535")

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// dialer dials connections for lib/pq. It implements pq.Dialer and pq.DialerContext.
type dialer struct {
	replyTimeout time.Duration
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var plain net.Dialer
	c, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, replyTimeout: d.replyTimeout}, nil
}

// conn is a connection to Postgres whose reads and writes time out.
type conn struct {
	net.Conn
	replyTimeout time.Duration
	// deadline is the one that lib/pq has set, for the handshake; zero for none.
	deadline time.Time
}

func (c *conn) SetDeadline(t time.Time) error {
	c.deadline = t
	return c.Conn.SetDeadline(t)
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.limitNext(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	// Report a reset as EOF: lib/pq maps only EOF to driver.ErrBadConn, on which database/sql uses
	// another connection.
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = io.EOF
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.limitNext(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// limitNext sets the deadline of the next read or write.
func (c *conn) limitNext(set func(time.Time) error) error {
	if c.replyTimeout == 0 {
		return nil
	}
	t := time.Now().Add(c.replyTimeout)
	if !c.deadline.IsZero() && c.deadline.Before(t) {
		t = c.deadline
	}
	return set(t)
}

// connector returns lib/pq's connector, without prepared statements if cfg demands BinaryParameters.
func connector(cfg pq.Config, d pq.Dialer) (driver.Connector, error) {
	c, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.Dialer(d)
	if cfg.BinaryParameters {
		return unprepared.New(c), nil
	}
	return c, nil
}
