package security

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/handlers"
	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
	"gatehouse/web"
)

// TestPendingBody_IsAuthorizedWhenComplete sends half of a body to every route that makes changes, as an administrator,
// disables the administrator, and then sends the rest of the bodies. No request may take effect, with any method of
// authentication.
func TestPendingBody_IsAuthorizedWhenComplete(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	victim, admin := x.NewClient(), x.NewClient()
	victim.Register("victim")
	admin.Register("boss")
	x.Run("", "user", "join", "boss", "admin").WantCode(t, 0)
	x.Run("", "group", "add", "staff").WantCode(t, 0)
	x.Run("", "user", "join", "victim", "staff").WantCode(t, 0)
	testkit.Eventually(t, 5*time.Second, "the permission", func() bool { return admin.Get("/admin/users").StatusCode == http.StatusOK })
	created := admin.Do(admin.NewRequest(http.MethodPost, "/api/tokens", `{"name":"one"}`, "Content-Type", "application/json"))
	admin.WantStatus(created, http.StatusCreated)
	token := regexp.MustCompile(`"token":"([^"]+)"`).FindStringSubmatch(created.Text)[1]
	tokenID := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(created.Text)[1]

	const formType, jsonType = kit.FormContentType, "application/json"
	session := "Cookie: " + admin.SessionCookieHeader()
	basic := "Authorization: " + kit.BasicHeader("boss", kit.Password)
	bearer := "Authorization: Bearer " + token
	everything := kit.EncodeForm("name", "Changed", "email", "", "time_zone", "Asia/Tokyo", "current_password", kit.Password, "new_password", kit.OtherPassword,
		"active", "false", "groups", "admin", "group", "staff", "permission", "books.read", "session", strings.TrimPrefix(x.SessionKey(admin), "session:"), "token", tokenID)
	type pending struct {
		*kit.HeldRequest
		name string
	}
	var all []pending
	for _, r := range (&handlers.Handlers{}).Routes() {
		if r.Method == http.MethodGet || r.Access == web.Open || r.Access == web.ForwardAuth {
			continue
		}
		path := strings.NewReplacer("/admin/users/:id", "/admin/users/"+x.UserID("victim"), "/api/tokens/:id", "/api/tokens/"+tokenID).Replace(r.Path)
		if path == "/admin/groups" {
			// The name must be new.
			all = append(all, pending{x.HoldHalf(r.Method, path, session, formType, kit.EncodeForm("group", "created")), r.Method + " " + path})
			continue
		}
		if !strings.HasPrefix(path, "/api/") {
			all = append(all, pending{x.HoldHalf(r.Method, path, session, formType, everything), r.Method + " " + path})
			continue
		}
		for what, credential := range map[string]string{"session": session, "Basic": basic, "token": bearer} {
			all = append(all, pending{x.HoldHalf(r.Method, path, credential, jsonType, `{"name":"another"}`), r.Method + " " + path + " by " + what})
		}
	}
	if len(all) < 20 {
		t.Errorf("got only %d routes that make changes", len(all))
	}

	x.Run("", "user", "disable", "boss", "--force").WantCode(t, 0)
	testkit.Eventually(t, 5*time.Second, "the administrator to be signed out", func() bool { return admin.Get("/dashboard").StatusCode == http.StatusSeeOther })
	before := durableState(x)
	for _, p := range all {
		if p.HeldRequest == nil {
			continue
		}
		a := p.Finish()
		if a.StatusCode != http.StatusUnauthorized && !kit.IsSessionEnded(a) {
			t.Errorf("%s: %s to %q\n%.300s", p.name, a.Status, a.Header.Get("Location"), a.Text)
		}
	}
	if after := durableState(x); after != before {
		t.Errorf("the state changed to\n%s\nfrom\n%s", after, before)
	}
}

// durableState returns Snapshot with the tables of groups and without throttles.
func durableState(x *kit.Target) string {
	x.T.Helper()
	var b strings.Builder
	for _, table := range []string{"users", "groups", "user_groups", "group_permissions", "user_permissions"} {
		b.WriteString(x.QueryValue(fmt.Sprintf(`SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM %s t`, table)))
		b.WriteString("\n")
	}
	keys := slices.DeleteFunc(x.Keys("*"), func(key string) bool { return strings.HasPrefix(key, "throttle:") })
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(&b, "%s %x\n", key, x.Do("DUMP", key))
	}
	return b.String()
}
