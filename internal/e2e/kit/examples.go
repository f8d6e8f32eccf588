package kit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// AwkwardPassword contains characters that clients often encode wrongly: a colon, letters inside and outside of Latin-1,
// and characters that are special in shells and URLs.
const AwkwardPassword = `wéary:otter €+%41 $x"`

// OnBothStores runs a test on Postgres and Redis, and on the embedded stores. The user john_doe exists, and the server
// receives changes.
func OnBothStores(t *testing.T, test func(t *testing.T, x *Target, database string)) {
	t.Run("postgres", func(t *testing.T) {
		s := NewSite(t)
		x := &Target{Site: s, Server: ServeJohnDoe(t, s.Env("LOG_FORMAT", "json"))}
		x.Sessions, x.Cache = DialRedis(t, s.RedisURL), DialRedis(t, s.RedisURL+"/1")
		test(t, x, "postgres")
	})
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		x := &Target{Site: &Site{T: t}, Server: ServeJohnDoe(t, map[string]string{"DATA_DIR": dir, "LOG_FORMAT": "json"})}
		x.Sessions, x.Cache = dialEmbeddedRedis(t, dir, 0), dialEmbeddedRedis(t, dir, 1)
		test(t, x, "sqlite")
	})
}

// ServeJohnDoe creates the user john_doe, starts a server and returns once it caches users locally, so that no
// invalidation interferes with the test.
func ServeJohnDoe(t *testing.T, env map[string]string) *testkit.Server {
	t.Helper()
	if env["DATABASE_URL"] != "" {
		RunCommand(t, env, "", "migrate", "up").WantCode(t, 0)
	}
	RunCommand(t, env, AwkwardPassword+"\n", "user", "add", "john_doe", "--password-stdin").WantCode(t, 0)
	metrics := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	env["METRICS_ADDR"] = metrics
	server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
	c := NewClient(t, "http://"+metrics)
	testkit.Eventually(t, 10*time.Second, "the server to receive changes", func() bool {
		return strings.Contains(c.Get("/metrics").Text, "\ngatehouse_listening 1\n")
	})
	return server
}
