package security

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// formOf returns the fields of the page's form with this action, as a browser would submit them.
func formOf(t testing.TB, a kit.Response, action string) url.Values {
	t.Helper()
	whole := regexp.MustCompile(`(?s)<form[^>]*action="` + regexp.QuoteMeta(action) + `"[^>]*>.*?</form>`).FindString(a.Text)
	if whole == "" {
		t.Fatalf("%s has no form at %s", a.Request.URL.Path, action)
	}
	attribute := func(tag, name string) string {
		m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
		if m == nil {
			return ""
		}
		return html.UnescapeString(m[1])
	}
	values := url.Values{}
	for _, tag := range regexp.MustCompile(`<input[^>]*>`).FindAllString(whole, -1) {
		if name := attribute(tag, "name"); name != "" && (attribute(tag, "type") != "checkbox" || strings.Contains(tag, " checked")) {
			values.Add(name, attribute(tag, "value"))
		}
	}
	for _, chosen := range regexp.MustCompile(`(?s)<select[^>]* name="([^"]*)".*?<option value="([^"]*)" selected`).FindAllStringSubmatch(whole, -1) {
		values.Set(chosen[1], chosen[2])
	}
	return values
}

// TestStaleForms_ConcurrentChangesBothHold: two administrators, each on a different server, open the page of the same
// user and save their changes at the same moment. Both changes are saved.
func TestStaleForms_ConcurrentChangesBothHold(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	servers := []string{s.Serve().URL(), s.Serve().URL()}
	admins := make([]*kit.Client, len(servers))
	for i := range admins {
		admins[i] = kit.NewClient(t, servers[i])
		admins[i].Register(fmt.Sprintf("boss%d", i))
		s.Run("", "user", "join", fmt.Sprintf("boss%d", i), "admin").WantCode(t, 0)
	}
	kit.NewClient(t, servers[0]).Register("alice")
	db := kit.OpenDB(t, "postgres", s.DatabaseURL)
	id := kit.QueryText(t, db, `SELECT id FROM users WHERE username = 'alice'`)
	for _, group := range []string{"one", "two", "three"} {
		s.Run("", "group", "add", group).WantCode(t, 0)
	}
	path := "/admin/users/" + id
	save := func(i int, form url.Values) (kit.Response, error) {
		return admins[i].TryDo(admins[i].NewRequest(http.MethodPost, path+"/groups", form.Encode(), "Content-Type", kit.FormContentType))
	}
	for round := range 5 {
		if _, err := db.Exec(`DELETE FROM user_groups WHERE user_id = $1`, id); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(`INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'one'), ($1, 'two')`, id); err != nil {
			t.Fatal(err)
		}
		forms := make([]url.Values, 2)
		for i, c := range admins {
			testkit.Eventually(t, 10*time.Second, "the page with both groups", func() bool {
				page := c.Get(path)
				if page.StatusCode != http.StatusOK {
					return false
				}
				forms[i] = formOf(t, page, path+"/groups")
				return slices.Equal(slices.Sorted(slices.Values(forms[i]["groups"])), []string{"one", "two"})
			})
		}
		forms[0]["groups"] = []string{"two"}
		forms[1]["groups"] = []string{"one", "two", "three"}
		for i, a := range kit.RunConcurrently(t, 2, func(i int) (kit.Response, error) { return save(i, forms[i]) }) {
			admins[i].WantSeeOther(a, path+"?notice=user-groups")
		}
		if got := kit.QueryText(t, db, `SELECT string_agg(group_name, ' ' ORDER BY group_name) FROM user_groups WHERE user_id = '`+id+`'`); got != "three two" {
			t.Errorf("round %d: alice is in %q, want the groups two and three", round, got)
		}
	}

	// A user edits the profile in two browsers. Changes of different fields are both saved; a conflict in one field is
	// shown to the user.
	one, other := kit.NewClient(t, servers[0]), kit.NewClient(t, servers[1])
	for _, c := range []*kit.Client{one, other} {
		c.SignIn("alice")
	}
	first, second := formOf(t, one.Get("/account"), "/account/profile"), formOf(t, other.Get("/account"), "/account/profile")
	first.Set("name", "Alice L.")
	second.Set("time_zone", "Asia/Tokyo")
	send := func(c *kit.Client, form url.Values) (kit.Response, error) {
		return c.TryDo(c.NewRequest(http.MethodPost, "/account/profile", form.Encode(), "Content-Type", kit.FormContentType))
	}
	for _, a := range kit.RunConcurrently(t, 2, func(i int) (kit.Response, error) {
		return send([]*kit.Client{one, other}[i], []url.Values{first, second}[i])
	}) {
		one.WantSeeOther(a, "/account?notice=profile")
	}
	if got := kit.QueryText(t, db, `SELECT name || ' ' || time_zone FROM users WHERE username = 'alice'`); got != "Alice L. Asia/Tokyo" {
		t.Errorf("got the profile %q", got)
	}
	second.Set("name", "Alice M.")
	conflict, err := send(other, second)
	if err != nil {
		t.Fatal(err)
	}
	other.WantFieldError(conflict, "name", "Meanwhile this was changed to “Alice L.”. Save again to replace it.")
	again := formOf(t, conflict, "/account/profile")
	if again.Get("name") != "Alice M." {
		t.Errorf("got the form with the name %q", again.Get("name"))
	}
	decided, err := send(other, again)
	if err != nil {
		t.Fatal(err)
	}
	other.WantSeeOther(decided, "/account?notice=profile")
	if got := kit.QueryText(t, db, `SELECT name || ' ' || time_zone FROM users WHERE username = 'alice'`); got != "Alice M. Asia/Tokyo" {
		t.Errorf("got the profile %q", got)
	}
}
