package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/handlers"
	"gatehouse/internal/testkit"
	"gatehouse/web"
)

// TestPendingBody_AuthorizesOnlyOnceItIsComplete sends half of a body to every route that changes
// something, as an administrator; the administrator is disabled, and only then do the bodies
// arrive whole. None of them may take effect, whatever the request is authenticated by.
func TestPendingBody_AuthorizesOnlyOnceItIsComplete(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	victim, admin := x.visitor(), x.visitor()
	victim.register("victim")
	admin.register("boss")
	x.run("", "user", "join", "boss", "admin").wantCode(t, 0)
	x.run("", "group", "add", "staff").wantCode(t, 0)
	x.run("", "user", "join", "victim", "staff").wantCode(t, 0)
	testkit.Eventually(t, 5*time.Second, "the permission", func() bool { return admin.get("/admin/users").StatusCode == http.StatusOK })
	created := admin.do(admin.request(http.MethodPost, "/api/tokens", `{"name":"one"}`, "Content-Type", "application/json"))
	admin.want(created, http.StatusCreated)
	token := regexp.MustCompile(`"token":"([^"]+)"`).FindStringSubmatch(created.body)[1]
	tokenID := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(created.body)[1]

	const formType, jsonType = "application/x-www-form-urlencoded", "application/json"
	session := "Cookie: " + admin.session()
	basic := "Authorization: " + basicHeader("boss", password)
	bearer := "Authorization: Bearer " + token
	everything := form("name", "Changed", "email", "", "time_zone", "Asia/Tokyo", "current_password", password, "new_password", otherPassword,
		"active", "false", "groups", "admin", "group", "staff", "permission", "books.read", "session", strings.TrimPrefix(x.key(admin), "session:"), "token", tokenID)
	type pending struct {
		*slowPost
		name string
	}
	var all []pending
	for _, r := range (&handlers.Handlers{}).Routes() {
		if r.Method == http.MethodGet || r.Access == web.Open || r.Access == web.ForwardAuth {
			continue
		}
		path := strings.NewReplacer("/admin/users/:id", "/admin/users/"+x.userID("victim"), "/api/tokens/:id", "/api/tokens/"+tokenID).Replace(r.Path)
		if path == "/admin/groups" {
			// Its name has to be new.
			all = append(all, pending{x.halfSent(r.Method, path, session, formType, form("group", "created")), r.Method + " " + path})
			continue
		}
		if !strings.HasPrefix(path, "/api/") {
			all = append(all, pending{x.halfSent(r.Method, path, session, formType, everything), r.Method + " " + path})
			continue
		}
		for what, credential := range map[string]string{"session": session, "Basic": basic, "token": bearer} {
			all = append(all, pending{x.halfSent(r.Method, path, credential, jsonType, `{"name":"another"}`), r.Method + " " + path + " by " + what})
		}
	}
	if len(all) < 20 {
		t.Errorf("the route table has only %d changing routes", len(all))
	}

	x.run("", "user", "disable", "boss", "--force").wantCode(t, 0)
	testkit.Eventually(t, 5*time.Second, "the administrator to be out", func() bool { return admin.get("/dashboard").StatusCode == http.StatusSeeOther })
	before := x.lastingState()
	for _, p := range all {
		if p.slowPost == nil {
			continue
		}
		a := p.finish()
		if a.StatusCode != http.StatusUnauthorized && (a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login") {
			t.Errorf("%s: %s to %q\n%.300s", p.name, a.Status, a.Header.Get("Location"), a.body)
		}
	}
	if after := x.lastingState(); after != before {
		t.Errorf("something changed:\n%s\nwas\n%s", after, before)
	}
}

// halfSent sends the head of a request and half of its body, once the server asks for the body;
// nil when it does not.
func (x *target) halfSent(method, path, credential, contentType, body string) *slowPost {
	x.t.Helper()
	p := x.slowRequest(method, path, credential, contentType, body)
	if p == nil {
		return nil
	}
	half := len(p.body) / 2
	if _, err := p.conn.Write([]byte(p.body[:half])); err != nil {
		x.t.Fatal(err)
	}
	p.body = p.body[half:]
	return p
}

// lastingState is the state with the tables of groups and without the counters of failed attempts.
func (x *target) lastingState() string {
	x.t.Helper()
	var b strings.Builder
	for _, table := range []string{"users", "groups", "user_groups", "group_permissions", "user_permissions"} {
		b.WriteString(x.value(fmt.Sprintf(`SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM %s t`, table)))
		b.WriteString("\n")
	}
	keys := slices.DeleteFunc(x.keys("*"), func(key string) bool { return strings.HasPrefix(key, "throttle:") })
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(&b, "%s %x\n", key, x.do("DUMP", key))
	}
	return b.String()
}
