package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// TestUnavailablePage_AfterAPasswordChange holds a password change in Postgres while Redis goes
// silent: the new password is saved, the page cannot renew the session, and does not say that
// nothing was saved. Before and beside it, what it says is so as well.
func TestUnavailablePage_AfterAPasswordChange(t *testing.T) {
	t.Parallel()
	store := testkit.StartRedis(t)
	x := newTarget(t, "REDIS_URL", store.URL())
	c := x.visitor()
	c.register("alice")

	lock, err := x.sql.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec(`SELECT id FROM users FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	answers := make(chan answer, 1)
	go func() {
		a, err := c.attempt(c.form("/account/password", "current_password", password, "new_password", otherPassword))
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	testkit.Eventually(t, 10*time.Second, "the change to wait for the lock", func() bool {
		return x.value(`SELECT count(*) FROM pg_locks WHERE NOT granted`) != "0"
	})
	store.Pause()
	if err := lock.Commit(); err != nil {
		t.Fatal(err)
	}
	a := <-answers
	page, form := c.get("/dashboard"), c.post("/account/profile", "name", "Alice")
	store.Resume()

	c.want(a, http.StatusServiceUnavailable)
	if !strings.Contains(a.body, "Your change may have been saved.") || strings.Contains(a.body, "Nothing was") {
		t.Errorf("after a change that was made the page says\n%s", a.body)
	}
	c.want(form, http.StatusServiceUnavailable)
	if !strings.Contains(form.body, "Nothing was saved") {
		t.Errorf("before anything was attempted the page says\n%s", form.body)
	}
	c.want(page, http.StatusServiceUnavailable)
	if strings.Contains(page.body, "saved") || strings.Contains(page.body, "sent") {
		t.Errorf("a page that was only opened says\n%s", page.body)
	}
	other := x.visitor()
	testkit.Eventually(t, 10*time.Second, "the new password", func() bool {
		a := other.post("/login", "username", "alice", "password", otherPassword)
		return a.StatusCode == http.StatusSeeOther
	})
	if name := x.value(`SELECT name FROM users`); name != "" {
		t.Errorf("the name is %q", name)
	}
}
