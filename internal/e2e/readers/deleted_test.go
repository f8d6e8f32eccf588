package readers

import (
	"net/http"
	"slices"
	"testing"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestDeletedUser_SignedOutForEveryReader: when a user is deleted, by hand in SQL as well, every app says
// "signed out" as long as the session's key lives, and never "try again"; after the cache was flushed too.
func TestDeletedUser_SignedOutForEveryReader(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, 1)
	var apps []neighbour
	for _, app := range readerApps {
		if slices.Contains([]string{"flask", "express", "go", "php"}, app.name) { // one for each reader
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
			if !tellsToSignIn(a) {
				t.Errorf("%s %s answers %s", when, app.name, a.Status)
			}
		}
	}
	for _, app := range apps {
		testkit.Eventually(t, kit.WaitTimeout, app.name+" to hear of it", func() bool {
			a := c.At(app.origin).Get("/whoami")
			if a.StatusCode == http.StatusServiceUnavailable {
				t.Fatalf("%s answers %s", app.name, a.Status)
			}
			return tellsToSignIn(a)
		})
	}
	signedOut("at once")
	for range 3 {
		n.flushCache()
		signedOut("after a flush")
	}
}

// tellsToSignIn reports whether the answer is that to a visitor who is signed out.
func tellsToSignIn(a kit.Response) bool {
	return a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusSeeOther || a.StatusCode == http.StatusFound
}

// TestFlushedCache_IsRefilledFromMemory: the cache is flushed, and the database goes down before anybody
// has asked for the people at work: other servers and other programs still know them.
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
			n, err := cache.Do("EXISTS", "user:"+p.ID)
			return err == nil && n == int64(1)
		})
	}
	pg.Stop()
	for _, way := range []string{kit.BySession, kit.ByToken} {
		there.WantGet(way, "/api/me", http.StatusOK)
		p.WantGet(way, "/api/me", http.StatusOK)
	}
}
