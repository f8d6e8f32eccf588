package security

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// parallelRounds is the number of repetitions of each race, because a single one may succeed by chance.
const parallelRounds = 20

// onBothDatabases runs a test on two servers that share a Postgres, and on two that share an SQLite file.
func onBothDatabases(t *testing.T, test func(t *testing.T, a, b string)) {
	for name, database := range map[string]string{"postgres": "", "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "users.db")} {
		t.Run(name, func(t *testing.T) {
			s := kit.NewSite(t)
			if database != "" {
				s.DatabaseURL = database
			}
			test(t, s.ServeWithoutRace().URL(), s.ServeWithoutRace().URL())
		})
	}
}

// after returns a copy of the client that has received the responses' cookies in this order.
func after(c *kit.Client, responses ...kit.Response) *kit.Client {
	c.T.Helper()
	value := c.Cookie(kit.SessionCookie)
	for _, a := range responses {
		if set := c.CookiesOf(a)[kit.SessionCookie]; set != nil {
			value = set.Value
		}
	}
	copied := kit.NewClient(c.T, c.BaseURL)
	if value != "" {
		copied.SetCookie(kit.SessionCookie, value)
	}
	return copied
}

// TestEndOthers_ConcurrentlyKeepsExactlyOne: of two browsers that end all other sessions at the same moment, one stays
// signed in, on both servers.
func TestEndOthers_ConcurrentlyKeepsExactlyOne(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, a, b string) {
		first := kit.NewClient(t, a)
		first.Register("alice")
		browsers := []*kit.Client{first, kit.NewClient(t, b)}
		won := map[int]int{}
		for round := range parallelRounds {
			for _, c := range browsers {
				if !c.IsSignedIn() {
					c.SignIn("alice")
				}
			}
			responses := kit.RunConcurrently(t, 2, func(i int) (kit.Response, error) {
				return browsers[i].TryDo(browsers[i].NewForm("/account/sessions/end-others"))
			})
			var in []int
			testkit.Eventually(t, 10*time.Second, "exactly one browser to stay signed in", func() bool {
				in = in[:0]
				for i, c := range browsers {
					if c.At(a).IsSignedIn() && c.At(b).IsSignedIn() {
						in = append(in, i)
					}
				}
				return len(in) == 1
			})
			winner, loser := in[0], 1-in[0]
			won[winner]++
			browsers[winner].WantSeeOther(responses[winner], "/account?notice=others-ended")
			if location := responses[loser].Header.Get("Location"); responses[loser].StatusCode != http.StatusSeeOther || strings.Contains(location, "others-ended") {
				t.Errorf("round %d: the loser got %s to %q", round, responses[loser].Status, location)
			}
			for range 3 {
				if browsers[loser].At(a).IsSignedIn() || browsers[loser].At(b).IsSignedIn() || !browsers[winner].At(a).IsSignedIn() || !browsers[winner].At(b).IsSignedIn() {
					t.Fatalf("round %d: the browsers' states changed later", round)
				}
			}
		}
		t.Logf("the browsers won %v", won)
	})
}

// TestDoubleClick_KeepsTheSession: of two identical requests of one browser, to one server or two, one takes effect, and
// the browser is signed in after the responses in either order.
func TestDoubleClick_KeepsTheSession(t *testing.T) {
	t.Parallel()
	onBothDatabases(t, func(t *testing.T, a, b string) {
		c := kit.NewClient(t, a)
		c.Register("alice")
		current := kit.Password
		for round := range parallelRounds {
			servers := []string{a, []string{a, b}[round%2]}
			next := fmt.Sprintf("%s-%d", kit.OtherPassword, round)
			for _, click := range []struct {
				path, made string
				fields     []string
			}{
				{"/account/sessions/end-others", "/account?notice=others-ended", nil},
				{"/account/password", "/account?notice=password", []string{"current_password", current, "new_password", next}},
			} {
				testkit.Eventually(t, 10*time.Second, "the browser to be signed in on both servers", func() bool { return c.At(a).IsSignedIn() && c.At(b).IsSignedIn() })
				clicks := []*kit.Client{c.CopySession(servers[0]), c.CopySession(servers[1])}
				responses := kit.RunConcurrently(t, 2, func(i int) (kit.Response, error) {
					return clicks[i].TryDo(clicks[i].NewForm(click.path, click.fields...))
				})
				var renewed, made int
				for _, got := range responses {
					if got.StatusCode >= 400 {
						t.Errorf("round %d: %s in a double click got %s\n%s", round, click.path, got.Status, got.Text)
					}
					if set := c.CookiesOf(got)[kit.SessionCookie]; set != nil {
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
					t.Errorf("round %d: %s: %d responses have a cookie, %d report success", round, click.path, renewed, made)
				}
				survivor := after(c, responses...)
				slices.Reverse(responses)
				for _, after := range []*kit.Client{survivor, after(c, responses...)} {
					for _, server := range []string{a, b} {
						testkit.Eventually(t, 10*time.Second, fmt.Sprintf("the browser to stay signed in after a double click on %s", click.path), after.At(server).IsSignedIn)
					}
				}
				c = survivor
			}
			current = next
		}
		c.WantStatus(c.PostForm("/login", "username", "alice", "password", kit.Password), http.StatusUnauthorized)
		c.WantSeeOther(c.PostForm("/login", "username", "alice", "password", current), "/dashboard")
	})
}
