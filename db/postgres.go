package db

import (
	"context"
	"database/sql"
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
)

const (
	// postgresConns is the size of the pool. Idle connections are kept as long as they
	// are used: database/sql's default of two costs more than a query.
	postgresConns = 16
	// replyLimit bounds the wait for each piece of a reply. lib/pq waits without end for
	// a server that is there but silent (a stopped machine, a cut cable), whatever the
	// context says, so it is less than statementLimit.
	replyLimit = 1500 * time.Millisecond
	// idleLimit closes connections that nobody needed for so long.
	idleLimit = 5 * time.Minute
)

var postgres = dialect{
	name:       "Postgres",
	goose:      goose.DialectPostgres,
	migrations: "postgres",
	hasTable:   `SELECT to_regclass($1) IS NOT NULL`,
	// Ordering by an expression keeps the planner from walking through all users in their order.
	search: searchQuery(`SELECT id FROM users
		WHERE username > $1 AND search LIKE (SELECT lower($2)) ORDER BY username || '' LIMIT $3`),
	searchShort: searchQuery(`SELECT id FROM users
		WHERE username > $1 AND search || '' LIKE (SELECT lower($2)) ORDER BY username || '' LIMIT $3`),
	searchFirst: searchQuery(`SELECT id FROM (
		SELECT id, username, search FROM users WHERE username > $1 ORDER BY username LIMIT ` + strconv.Itoa(searchWindow) + `) first
		WHERE search LIKE (SELECT lower($2)) ORDER BY username LIMIT $3`),

	administratorTx: afterLock,
	// A new member's foreign key takes the group FOR KEY SHARE, which only this lock conflicts with.
	lockGroup:  `SELECT name FROM groups WHERE name = $1 FOR UPDATE`,
	lockRows:   ` FOR UPDATE`,
	skipLocked: ` FOR UPDATE SKIP LOCKED`,
}

// openPostgres opens the database that rawURL names. directURL names the same one without a pooler
// in between, for LISTEN and migrations; "" if there is none in between.
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
	hasty, err := postgresPool(cfg, replyLimit)
	if err != nil {
		return nil, err
	}
	hasty.SetMaxOpenConns(postgresConns)
	hasty.SetMaxIdleConns(postgresConns)
	hasty.SetConnMaxIdleTime(idleLimit)
	dsn, err := listenerDSN(directURL)
	if err != nil {
		return nil, err
	}
	return &DB{
		dialect:   postgres,
		pool:      sqlx.NewDb(hasty, "postgres"),
		dsn:       dsn,
		connect:   func() (*sql.DB, error) { return postgresPool(direct, 0) },
		skeletons: newSkeletonFill(),
	}, nil
}

// postgresPool returns a pool whose connections wait for a reply as long as given; 0 for ever.
func postgresPool(cfg pq.Config, reply time.Duration) (*sql.DB, error) {
	c, err := connector(cfg, dialer{reply: reply})
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	return sql.OpenDB(c), nil
}

// postgresConfig reads the URL and adds what Gatehouse relies on.
func postgresConfig(rawURL string) (pq.Config, error) {
	rest, hosts, err := cutHosts(rawURL)
	if err != nil {
		return pq.Config{}, err
	}
	// lib/pq's own error quotes the URL.
	if _, err := url.Parse(rest); err != nil {
		return pq.Config{}, errors.New("database URL: cannot be read (special characters in the password have to be percent-encoded)")
	}
	cfg, err := pq.NewConfig(rest)
	if err != nil {
		return pq.Config{}, fmt.Errorf("database URL: %w", err)
	}
	if len(hosts) > 0 {
		cfg.Host, cfg.Port, cfg.Multi = hosts[0].Host, hosts[0].Port, hosts[1:]
	}
	if len(cfg.Multi) > 0 && cfg.TargetSessionAttrs == "" {
		// Of several hosts, the one that can be written to is wanted.
		cfg.TargetSessionAttrs = pq.TargetSessionAttrsReadWrite
	}
	if cfg.ConnectTimeout == 0 {
		// Leave time for the next host.
		cfg.ConnectTimeout = replyLimit / time.Duration(1+len(cfg.Multi))
	}
	if cfg.ApplicationName == "" {
		cfg.ApplicationName = "gatehouse"
	}
	cfg.Runtime = withUTC(cfg.Runtime)
	return cfg, nil
}

// withUTC makes the server hand out times in UTC.
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

// cutHosts takes several hosts (host1:5432,host2:5432, as libpq writes them) out of the
// URL, because net/url refuses them and lib/pq relies on it. With one host it returns
// the URL as it is.
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

// splitHost reads host, host:port, [address] or [address]:port.
func splitHost(s string) (pq.ConfigMultihost, error) {
	if !strings.Contains(s, ":") || strings.HasSuffix(s, "]") {
		s += ":5432"
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return pq.ConfigMultihost{}, errors.New("database URL: several hosts are written as host1:port1,host2:port2")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return pq.ConfigMultihost{}, errors.New("database URL: a port is a number from 1 to 65535")
	}
	return pq.ConfigMultihost{Host: host, Port: uint16(n)}, nil
}

// dialer makes the connections that lib/pq uses. It implements pq.Dialer and pq.DialerContext.
type dialer struct {
	reply time.Duration
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
	return &conn{Conn: c, reply: d.reply}, nil
}

// conn is a connection to Postgres whose reads end in time.
type conn struct {
	net.Conn
	reply time.Duration
	// until is the deadline that lib/pq set for the handshake, or zero.
	until time.Time
}

func (c *conn) SetDeadline(t time.Time) error {
	c.until = t
	return c.Conn.SetDeadline(t)
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.limit(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	// A reset is an end like any other: lib/pq reports only the latter as
	// driver.ErrBadConn, upon which database/sql takes another connection.
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = io.EOF
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.limit(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// limit sets the deadline of the next read or write.
func (c *conn) limit(set func(time.Time) error) error {
	if c.reply == 0 {
		return nil
	}
	t := time.Now().Add(c.reply)
	if !c.until.IsZero() && c.until.Before(t) {
		t = c.until
	}
	return set(t)
}
