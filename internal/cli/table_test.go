package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
)

func TestWriteTable_AlignsWideCharacters(t *testing.T) {
	var out bytes.Buffer
	err := writeTable(&out, [][]string{
		{"USER", "NAME", "STATE"},
		{"ann", "Ann", "active"},
		{"li", "李小龍", "active"},
		{"zoe", "Zoe\u0308 👩🏽‍🚀", "disabled"},
		{"evil", "\x1b[31m\u202eAnn\n", "active"},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var columns []int
	for line := range strings.Lines(out.String()) {
		at := max(strings.LastIndex(line, "STATE"), strings.LastIndex(line, "active"), strings.LastIndex(line, "disabled"))
		columns = append(columns, runewidth.StringWidth(line[:at]))
	}
	for _, column := range columns {
		if column != columns[0] || len(columns) != 5 {
			t.Fatalf("the last column begins at %v:\n%s", columns, &out)
		}
	}
	if strings.ContainsAny(out.String(), "\x1b\u202e") {
		t.Errorf("a name controls the terminal: %q", out.String())
	}
}

func TestWriteTable_FitsTheTerminal(t *testing.T) {
	rows := func() [][]string {
		return [][]string{
			{"USER", "NAME", "EMAIL", "STATE"},
			{"ann", strings.Repeat("名", 40), strings.Repeat("e", 60) + "@example.org", "active"},
			{strings.Repeat("b", 64), "Bob", "", "disabled"},
		}
	}
	for _, width := range []int{60, 80, 120} {
		var out bytes.Buffer
		if err := writeTable(&out, rows(), width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if got := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); got > width {
				t.Errorf("a line has %d columns, want at most %d:\n%s", got, width, &out)
			}
		}
		for _, part := range []string{"…", "disabled", "active\n"} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%d columns: no %q:\n%s", width, part, &out)
			}
		}
	}
	var piped bytes.Buffer
	if err := writeTable(&piped, rows(), 0); err != nil || strings.Contains(piped.String(), "…") {
		t.Errorf("a pipe gets shortened cells: %v\n%s", err, &piped)
	}
}

// addUser adds a user with the rest of the arguments.
func addUser(t *testing.T, env map[string]string, args ...string) {
	t.Helper()
	if _, ok := env["DATA_DIR"]; !ok {
		env["DATA_DIR"] = filepath.Join(t.TempDir(), "data")
	}
	setEnvironment(t, env)
	var out, errs bytes.Buffer
	err := Run(t.Context(), append([]string{"user", "add", "--password-stdin"}, args...), IO{strings.NewReader("correct horse lamp 42\n"), &out, &errs})
	if err != nil {
		t.Fatalf("%q: %v %s", args, err, &errs)
	}
}

func TestList_PrintsJSON(t *testing.T) {
	env := map[string]string{}
	for _, args := range [][]string{{"user", "list", "--json"}, {"migrate", "status", "--json"}} {
		out, _, err := runIn(t, env, args...)
		var list []map[string]any
		if err != nil || json.Unmarshal([]byte(out), &list) != nil || list == nil {
			t.Errorf("%v: %v, %s", args, err, out)
		}
	}
	addUser(t, env, "ann", "--name", "Ann <Ex&mple>", "--email", "ann@example.org", "--group", "admin")
	out, _, err := runIn(t, env, "user", "list", "--json")
	var users []map[string]any
	if err != nil || json.Unmarshal([]byte(out), &users) != nil || len(users) != 1 || strings.Contains(out, `\u003c`) {
		t.Fatalf("%v, %s", err, out)
	}
	created, _ := users[0]["created_at"].(string)
	if at, err := time.Parse(time.RFC3339, created); err != nil || time.Since(at) > time.Hour {
		t.Errorf("created at %q", created)
	}
	if id, _ := users[0]["id"].(string); len(id) != 36 {
		t.Errorf("the ID is %q", id)
	}
	delete(users[0], "created_at")
	delete(users[0], "id")
	got, err := json.Marshal(users[0])
	want := `{"active":true,"email":"ann@example.org","email_verified":true,"groups":["admin"],"last_sign_in_at":null,"name":"Ann \u003cEx\u0026mple\u003e","permissions":["users.manage","users.view"],"time_zone":"UTC","username":"ann"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, c := range []struct{ args, want string }{
		{"group list --json", `"name": "admin",`},
		{"user show ann --json", `"direct_permissions": []`},
		{"session list ann --json", "[]\n"},
		{"token list ann --json", "[]\n"},
		{"maintenance status --json", "no server runs"},
	} {
		out, _, err := runIn(t, env, strings.Fields(c.args)...)
		if err != nil {
			out = err.Error()
		}
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: %s", c.args, out)
		}
	}
}

// TestMinute_OfNoTime: a session record by another program may lack a time.
func TestMinute_OfNoTime(t *testing.T) {
	at := time.Date(2026, 11, 20, 14, 5, 0, 0, time.UTC)
	for want, got := range map[string]string{"never": minute(timestamp(time.Time{})), "2026-11-20 14:05Z": minute(timestamp(at))} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
