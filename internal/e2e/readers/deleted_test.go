package readers

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestDeletedUser_IsSignedOutForEveryReader: when a user is deleted, even directly in SQL or with a flushed cache,
// every app treats the visitor as signed out, although the session's key exists, and never responds with a 503.
func TestDeletedUser_IsSignedOutForEveryReader(t *testing.T) {
	t.Parallel()
	n := newPlatform(t, 1)
	var apps []runningApp
	for _, app := range readerApps {
		if slices.Contains([]string{"flask", "express", "go", "php"}, app.name) { // one per reader
			apps = append(apps, n.start(t, app))
		}
	}
	c := kit.NewClient(t, n.login)
	c.Register("alice")
	for _, app := range apps {
		testkit.Eventually(t, kit.WaitTimeout, app.name+" to greet alice", func() bool {
			return c.At(app.origin).Get("/whoami").StatusCode == http.StatusOK
		})
	}
	n.Exec(`DELETE FROM users`)
	signedOut := func(when string) {
		t.Helper()
		for _, app := range apps {
			a := c.At(app.origin).Get("/whoami")
			if !asksToSignIn(a) {
				t.Errorf("%s %s responds %s", when, app.name, a.Status)
			}
		}
	}
	for _, app := range apps {
		testkit.Eventually(t, kit.WaitTimeout, app.name+" to notice it", func() bool {
			a := c.At(app.origin).Get("/whoami")
			if a.StatusCode == http.StatusServiceUnavailable {
				t.Fatalf("%s responds %s", app.name, a.Status)
			}
			return asksToSignIn(a)
		})
	}
	signedOut("immediately")
	for range 3 {
		n.flushCache()
		signedOut("after a flush")
	}
}

// asksToSignIn reports whether the response is the one for anonymous visitors.
func asksToSignIn(a kit.Response) bool {
	return a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusSeeOther || a.StatusCode == http.StatusFound
}

// TestFlushedCache_IsRefilledFromMemory: when the cache is flushed and then the database fails, other servers and apps
// still recognize the users that one server has in local memory.
func TestFlushedCache_IsRefilledFromMemory(t *testing.T) {
	pg, store := testkit.StartPostgres(t), testkit.StartRedis(t)
	s := &kit.Site{T: t, DatabaseURL: pg.URL(), RedisURL: store.URL()}
	one := s.Serve()
	p := kit.RegisterPrincipal(t, one.URL(), "alice")
	there := p.At(s.Serve().URL()) // has never seen alice
	cache := kit.DialRedis(t, s.RedisURL+"/1")
	for range 3 {
		p.WantGet(kit.BySession, "/api/me", http.StatusOK)
		if _, err := cache.Do("FLUSHDB"); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, kit.WaitTimeout, "alice to be in the cache again", func() bool {
			// The key may also hold the lease of the request that is about to fill it.
			user, err := redis.String(cache.Do("GET", "user:"+p.ID))
			return err == nil && strings.Contains(user, p.ID)
		})
	}
	pg.Stop()
	for _, way := range []string{kit.BySession, kit.ByToken} {
		there.WantGet(way, "/api/me", http.StatusOK)
		p.WantGet(way, "/api/me", http.StatusOK)
	}
}
