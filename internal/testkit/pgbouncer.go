package testkit

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"gatehouse/internal/testkit/servers"
)

// PgBouncer starts a connection pooler in transaction mode in front of the Postgres at databaseURL
// and returns the URL of the same database through the pooler, which ends with the test.
func PgBouncer(t testing.TB, databaseURL string) string {
	t.Helper()
	binary := Tool(t, "pgbouncer")
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := servers.TempDir("pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, os.RemoveAll(dir)) })
	port := strconv.Itoa(FreePort(t))
	password, _ := u.User.Password()
	config := fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
`, u.Hostname(), u.Port(), u.User.Username(), password, port)
	file := filepath.Join(dir, "pgbouncer.ini")
	must(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(binary, file)
	cmd.Dir = dir
	must(t, servers.RunAsPostgres(cmd, dir, file))
	u.Host = net.JoinHostPort("127.0.0.1", port)
	StartProgram(t, cmd, u.Host)
	return u.String()
}
