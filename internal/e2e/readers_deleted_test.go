package e2e

import (
	"net/http"
	"slices"
	"testing"

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
	c := newClient(t, n.login)
	c.register("alice")
	for _, app := range apps {
		testkit.Eventually(t, generous, app.name+" to greet alice", func() bool {
			return c.at(app.origin).get("/whoami").StatusCode == http.StatusOK
		})
	}
	n.exec(`DELETE FROM users`)
	signedOut := func(when string) {
		t.Helper()
		for _, app := range apps {
			a := c.at(app.origin).get("/whoami")
			if !tellsToSignIn(a) {
				t.Errorf("%s %s answers %s", when, app.name, a.Status)
			}
		}
	}
	for _, app := range apps {
		testkit.Eventually(t, generous, app.name+" to hear of it", func() bool {
			a := c.at(app.origin).get("/whoami")
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
func tellsToSignIn(a answer) bool {
	return a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusSeeOther || a.StatusCode == http.StatusFound
}

// TestFlushedCache_IsRefilledFromMemory: the cache is flushed, and the database goes down before anybody
// has asked for the people at work: other servers and other programs still know them.
func TestFlushedCache_IsRefilledFromMemory(t *testing.T) {
	pg, store := testkit.StartPostgres(t), testkit.StartRedis(t)
	s := &site{t: t, database: pg.URL(), redis: store.URL()}
	one := s.serve()
	p := registerPrincipal(t, one.URL(), "alice")
	there := p.at(s.serve().URL()) // has never seen alice
	cache := dialRedis(t, s.redis+"/1")
	for range 3 {
		p.want(bySession, "/api/me", http.StatusOK)
		if _, err := cache.Do("FLUSHDB"); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, generous, "alice to be in the cache again", func() bool {
			n, err := cache.Do("EXISTS", "user:"+p.id)
			return err == nil && n == int64(1)
		})
	}
	pg.Stop()
	for _, way := range []string{bySession, byToken} {
		there.want(way, "/api/me", http.StatusOK)
		p.want(way, "/api/me", http.StatusOK)
	}
}
