package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestUnavailablePage_AfterAPasswordChange holds a password change in Postgres while Redis freezes: the new password
// is saved, but the session cannot be renewed. The page must not claim that nothing was saved. It may do so if the
// change was not attempted.
func TestUnavailablePage_AfterAPasswordChange(t *testing.T) {
	t.Parallel()
	store := testkit.StartRedis(t)
	x := kit.NewTarget(t, "REDIS_URL", store.URL())
	c := x.NewClient()
	c.Register("alice")

	lock, err := x.DB.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec(`SELECT id FROM users FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	responses := make(chan kit.Response, 1)
	go func() {
		a, err := c.TryDo(c.NewForm("/account/password", "current_password", kit.Password, "new_password", kit.OtherPassword))
		if err != nil {
			t.Error(err)
		}
		responses <- a
	}()
	testkit.Eventually(t, 10*time.Second, "the change to wait for the lock", func() bool {
		return x.QueryValue(kit.BlockedStatements) != "0"
	})
	store.Pause()
	if err := lock.Commit(); err != nil {
		t.Fatal(err)
	}
	a := <-responses
	page, form := c.Get("/dashboard"), c.PostForm("/account/profile", "name", "Alice")
	store.Resume()

	c.WantStatus(a, http.StatusServiceUnavailable)
	if !strings.Contains(a.Text, "Your change may have been saved.") || strings.Contains(a.Text, "Nothing was") {
		t.Errorf("after a saved change, got the page\n%s", a.Text)
	}
	c.WantStatus(form, http.StatusServiceUnavailable)
	if !strings.Contains(form.Text, "Nothing was saved") {
		t.Errorf("before the change was attempted, got the page\n%s", form.Text)
	}
	c.WantStatus(page, http.StatusServiceUnavailable)
	if strings.Contains(page.Text, "saved") || strings.Contains(page.Text, "sent") {
		t.Errorf("after a GET, got the page\n%s", page.Text)
	}
	other := x.NewClient()
	testkit.Eventually(t, 10*time.Second, "the new password", func() bool {
		a := other.PostForm("/login", "username", "alice", "password", kit.OtherPassword)
		return a.StatusCode == http.StatusSeeOther
	})
	if name := x.QueryValue(`SELECT name FROM users`); name != "" {
		t.Errorf("got the name %q", name)
	}
}
