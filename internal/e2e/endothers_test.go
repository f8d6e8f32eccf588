package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// parallelRounds is how often each race is run: a single one may end well by chance.
const parallelRounds = 20

// onBothDatabases runs a test on two servers that share Postgres, and on two that share an SQLite file.
func onBothDatabases(t *testing.T, test func(t *testing.T, a, b string)) {
	for name, database := range map[string]string{"postgres": "", "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "users.db")} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if database != "" {
				s.database = database
			}
			test(t, s.servePlain().URL(), s.servePlain().URL())
		})
	}
}

// after is a copy of the client once it has taken the cookies of the answers, in this order.
func (c *client) after(answers ...answer) *client {
	c.t.Helper()
	value := c.cookie(sessionCookie)
	for _, a := range answers {
		if set := c.setCookies(a)[sessionCookie]; set != nil {
			value = set.Value
		}
	}
	copied := newClient(c.t, c.base)
	if value != "" {
		copied.setCookie(sessionCookie, value)
	}
	return copied
}

// TestEndOthers_AtOnceKeepsExactlyOne: of two browsers that end all others at the same moment one stays
// signed in, on both servers.
func TestEndOthers_AtOnceKeepsExactlyOne(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, a, b string) {
		first := newClient(t, a)
		first.register("alice")
		browsers := []*client{first, newClient(t, b)}
		won := map[int]int{}
		for round := range parallelRounds {
			for _, c := range browsers {
				if !c.signedIn() {
					c.signIn("alice")
				}
			}
			answers := atOnce(t, 2, func(i int) (answer, error) {
				return browsers[i].attempt(browsers[i].form("/account/sessions/end-others"))
			})
			var in []int
			testkit.Eventually(t, 10*time.Second, "exactly one browser to stay signed in", func() bool {
				in = in[:0]
				for i, c := range browsers {
					if c.at(a).signedIn() && c.at(b).signedIn() {
						in = append(in, i)
					}
				}
				return len(in) == 1
			})
			winner, loser := in[0], 1-in[0]
			won[winner]++
			browsers[winner].wantSeeOther(answers[winner], "/account?notice=others-ended#sessions")
			if location := answers[loser].Header.Get("Location"); answers[loser].StatusCode != http.StatusSeeOther || strings.Contains(location, "notice") {
				t.Errorf("round %d: the loser is told %s, %q", round, answers[loser].Status, location)
			}
			for range 3 {
				if browsers[loser].at(a).signedIn() || browsers[loser].at(b).signedIn() || !browsers[winner].at(a).signedIn() || !browsers[winner].at(b).signedIn() {
					t.Fatalf("round %d: what was true of the browsers does not stay so", round)
				}
			}
		}
		t.Logf("the browsers won %v", won)
	})
}

// TestDoubleClick_TheBrowserSurvives: of two identical requests of one browser, to one server or to two, one
// is made, and whichever answer arrives last the browser is signed in.
func TestDoubleClick_TheBrowserSurvives(t *testing.T) {
	t.Parallel()
	onBothDatabases(t, func(t *testing.T, a, b string) {
		c := newClient(t, a)
		c.register("alice")
		current := password
		for round := range parallelRounds {
			servers := []string{a, []string{a, b}[round%2]}
			next := fmt.Sprintf("%s-%d", otherPassword, round)
			for _, click := range []struct {
				path, made string
				fields     []string
			}{
				{"/account/sessions/end-others", "/account?notice=others-ended#sessions", nil},
				{"/account/password", "/account?notice=password#password", []string{"current_password", current, "new_password", next}},
			} {
				testkit.Eventually(t, 10*time.Second, "the browser to be signed in on both servers", func() bool { return c.at(a).signedIn() && c.at(b).signedIn() })
				clicks := []*client{c.copy(servers[0]), c.copy(servers[1])}
				answers := atOnce(t, 2, func(i int) (answer, error) { return clicks[i].attempt(clicks[i].form(click.path, click.fields...)) })
				var renewed, made int
				for _, got := range answers {
					if got.StatusCode >= 400 {
						t.Errorf("round %d: %s of a double click is answered %s\n%s", round, click.path, got.Status, got.body)
					}
					if set := c.setCookies(got)[sessionCookie]; set != nil {
						renewed++
						if set.Value == "" {
							t.Errorf("round %d: %s: the cookie is cleared", round, click.path)
						}
					}
					if got.Header.Get("Location") == click.made {
						made++
					}
				}
				if renewed != 1 || made == 0 {
					t.Errorf("round %d: %s: %d answers have a cookie, %d say that it is done", round, click.path, renewed, made)
				}
				survivor := c.after(answers...)
				slices.Reverse(answers)
				for _, after := range []*client{survivor, c.after(answers...)} {
					for _, server := range []string{a, b} {
						testkit.Eventually(t, 10*time.Second, fmt.Sprintf("the browser to survive a double click on %s", click.path), after.at(server).signedIn)
					}
				}
				c = survivor
			}
			current = next
		}
		c.want(c.post("/login", "username", "alice", "password", password), http.StatusUnauthorized)
		c.wantSeeOther(c.post("/login", "username", "alice", "password", current), "/dashboard")
	})
}
