// Package api tests what programs and operators use: the API, its description and manual, commands, imports, metrics
// and maintenance.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestManual_ExamplesRun runs every code block of docs/api.md verbatim: with curl, Python, Node and in a browser. The
// server's log shows that all of them do the same task.
func TestManual_ExamplesRun(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	x := &kit.Target{Site: s, Server: kit.ServeJohnDoe(t, s.Env("LOG_FORMAT", "json")), DB: kit.OpenDB(t, "postgres", s.DatabaseURL)}
	x.Sessions = kit.DialRedis(t, s.RedisURL)

	ran := map[string]int{}
	for _, b := range manual(t) {
		t.Run(fmt.Sprintf("%s in line %d", b.kind, b.line), func(t *testing.T) {
			ran[b.kind]++
			from := len(x.Server.Log())
			switch b.kind {
			case "json":
				wantProblemExample(t, b.code)
				return
			case "js browser":
				runInBrowser(x, t, b.code)
			default:
				out := runExample(x, t, b)
				if strings.Contains(b.code, "for i in") {
					return // TestBasic_RepeatedRequestIsAuthorizedByRedis reads the output
				}
				wantTimes(t, out)
			}
			wantTask(x, t, from)
		})
	}
	for kind, n := range map[string]int{"sh": 2, "python": 1, "js node": 1, "js browser": 1, "json": 1} {
		if ran[kind] != n {
			t.Errorf("docs/api.md has %d blocks of %s, want %d", ran[kind], kind, n)
		}
	}
	if len(ran) != 5 {
		t.Errorf("docs/api.md has blocks that this test cannot run: %v", ran)
	}
}

// example is a fenced code block of the manual.
type example struct {
	kind, code string
	line       int
}

var fence = regexp.MustCompile("(?ms)^```(.+?)\n(.*?)^```$")

func manual(t testing.TB) []example {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	for _, at := range fence.FindAllSubmatchIndex(text, -1) {
		all = append(all, example{string(text[at[2]:at[3]]), string(text[at[4]:at[5]]), bytes.Count(text[:at[0]], []byte("\n")) + 1})
	}
	if fences := len(regexp.MustCompile("(?m)^```").FindAll(text, -1)); fences != 2*len(all) {
		t.Errorf("docs/api.md has %d fences, which do not make %d blocks with a language each", fences, len(all))
	}
	return all
}

// runExample runs a block as a reader would after filling in the address of their site, and returns its output.
func runExample(x *kit.Target, t testing.TB, b example) string {
	t.Helper()
	var command []string
	switch b.kind {
	case "sh":
		testkit.Tool(t, "curl")
		command = []string{testkit.Tool(t, "sh"), "-eu"}
	case "python":
		command = []string{testkit.Python(t, "requests"), "-"}
	case "js node":
		command = []string{testkit.Tool(t, "node"), "--input-type=module", "-"}
	default:
		t.Fatalf("no way to run %q", b.kind)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "PASSWORD=" + kit.AwkwardPassword}
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(b.code, "https://login.example.org", x.Server.URL()))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s%s", b.kind, err, &stdout, &stderr)
	}
	return stdout.String()
}

// wantTimes fails unless out has two lines: the responses to Basic and to the token, which is then cached in Redis.
func wantTimes(t testing.TB, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("printed %q, want two lines", out)
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "{") {
			var now struct {
				User         struct{ Username string }
				AuthorizedBy string `json:"authorized_by"`
			}
			if err := json.Unmarshal([]byte(line), &now); err != nil || now.User.Username != "john_doe" {
				t.Errorf("printed %q (%v), want the time for john_doe", line, err)
			}
			line = now.AuthorizedBy
		}
		if line != "redis" && (i > 0 || line != "postgres") {
			t.Errorf("response %d was authorized by %q", i+1, line)
		}
	}
}

// runInBrowser runs the block as a script of a page whose visitor is signed in.
func runInBrowser(x *kit.Target, t *testing.T, code string) {
	t.Helper()
	p := kit.NewBrowser(t, x.Server.URL())
	p.Open("/login", 200)
	p.Fill("username", "john_doe", "password", kit.AwkwardPassword)
	p.Submit("/login", 200)
	got := kit.Eval[string](p, `(async () => {`+code+`; return [made.status, first.user.username, second.user.username].join(" ") })()`)
	if want := "201 john_doe john_doe"; got != want {
		t.Errorf("the page got %q, want %q", got, want)
	}
	// A password dialog of the browser would still be open.
	p.Open("/dashboard", 200)
}

// wantTask fails unless the requests logged since from are exactly those of the task.
func wantTask(x *kit.Target, t testing.TB, from int) {
	t.Helper()
	want := []string{
		"GET /api/time 200", "POST /api/tokens 201", "GET /api/time 200", "DELETE /api/tokens/current 204",
	}
	var got []string
	testkit.Eventually(t, 10*time.Second, "the requests in the log", func() bool {
		got = nil
		for _, line := range x.LogLines(from) {
			if line.Text("msg") == "request" && strings.HasPrefix(line.Text("route"), "/api/") {
				got = append(got, fmt.Sprint(line["method"], " ", line["route"], " ", line["status"]))
				if line.Text("user_id") != x.UserID("john_doe") {
					t.Errorf("%s was made by %q", got[len(got)-1], line.Text("user_id"))
				}
			}
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("got the requests %q, want %q", got, want)
	}
	if keys := x.Keys("token:*"); len(keys) != 0 {
		t.Errorf("the token was not revoked: %v", keys)
	}
}

// wantProblemExample fails unless the manual's example of an error matches the API description.
func wantProblemExample(t testing.TB, code string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(code), &v); err != nil {
		t.Fatal(err)
	}
	if err := matches(newDescription(t).doc.Components.Schemas["Problem"].Value, v); err != nil {
		t.Error(err)
	}
}

var manualCode = regexp.MustCompile("(?m)^\\| (\\d{3}) \\| `([a-z_]+)` \\| .+ \\|$")

// TestManual_ListsEveryErrorOfTheOperations: the table of errors has the codes of the API description with their statuses.
// Package problem tests that the table lists every code that the server can send.
func TestManual_ListsEveryErrorOfTheOperations(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range manualCode.FindAllStringSubmatch(string(text), -1) {
		listed = append(listed, m[1]+" "+m[2])
	}
	d := newDescription(t)
	for _, key := range d.operations() {
		for status, response := range d.operation(key).Responses.Map() {
			for _, code := range codesOf(response.Value) {
				if entry := status + " " + code; code != "" && !slices.Contains(listed, entry) {
					t.Errorf("docs/api.md does not list %s of %s", entry, key)
				}
			}
		}
	}
}
