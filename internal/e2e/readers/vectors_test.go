package readers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// vectorRunners run the cases of a file, or of vectors.json, in each language except Go, whose runner is a test of
// clients/go.
var vectorRunners = map[string]func(testing.TB) []string{
	"python": func(t testing.TB) []string { return []string{testkit.Python(t, "redis"), "vectors.py"} },
	"node":   func(t testing.TB) []string { return []string{testkit.Tool(t, "node"), "vectors.mjs"} },
	"php":    func(t testing.TB) []string { return []string{testkit.PHP(t, "redis"), "vectors.php"} },
}

// vectors is a file of test cases, each as raw JSON.
type vectors struct {
	About string           `json:"about"`
	Now   string           `json:"now"`
	Cases []map[string]raw `json:"cases"`
}

type raw = json.RawMessage

func readVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "clients", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// runVectors runs a language's runner and returns its output line by line and its exit code.
func runVectors(t testing.TB, language, clients string, args ...string) ([]string, int) {
	t.Helper()
	command := append(vectorRunners[language](t), args...)
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = filepath.Join(clients, language)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + clients, "PYTHONDONTWRITEBYTECODE=1"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n"), cmd.ProcessState.ExitCode()
}

// TestVectors_PassInEveryReader: every reader passes all cases, and its runner reports a wrong result.
func TestVectors_PassInEveryReader(t *testing.T) {
	clients := copyOfClients(t)
	v := readVectors(t)
	if len(v.Cases) < 200 {
		t.Fatalf("got only %d cases", len(v.Cases))
	}
	for language := range vectorRunners {
		t.Run(language, func(t *testing.T) {
			said, code := runVectors(t, language, clients)
			if want := []string{fmt.Sprintf("%d vectors passed", len(v.Cases))}; code != 0 || !slices.Equal(said, want) {
				t.Errorf("exit code %d and output %q, want %q", code, said, want)
			}
			for _, turned := range []struct {
				name, from, field, value string
			}{
				{"signed in reported as signed out", `"signed in"`, "want", `"signed out"`},
				{"signed out reported as signed in", `"signed out"`, "want", `"signed in"`},
				{"unknown reported as signed out", `"user not cached"`, "want", `"signed out"`},
				{"signed out reported as unknown", `"signed out"`, "want", `"user not cached"`},
				{"another user", `"signed in"`, "user", `{"id":"x","username":"mallory","name":"","email":"","groups":[],"permissions":[]}`},
			} {
				at := slices.IndexFunc(v.Cases, func(c map[string]raw) bool { return string(c["want"]) == turned.from })
				file, name := modified(t, v, at, turned.field, turned.value)
				said, code := runVectors(t, language, clients, file)
				last := said[len(said)-1]
				if code != 1 || len(said) != 2 || !strings.Contains(said[0], name) || last != fmt.Sprintf("%d vectors passed", len(v.Cases)-1) {
					t.Errorf("%s: exit code %d and output %q", turned.name, code, said)
				}
			}
			if said, code := runVectors(t, language, clients, writeVectors(t, vectors{v.About, v.Now, nil})); code != 1 {
				t.Errorf("without cases: exit code %d and output %q", code, said)
			}
		})
	}
}

// modified returns a file in which a field of one case has another value, and the name of the case.
func modified(t testing.TB, v vectors, at int, field, value string) (file, name string) {
	t.Helper()
	changed := map[string]raw{}
	for key, text := range v.Cases[at] {
		changed[key] = text
	}
	changed[field] = raw(value)
	v.Cases = slices.Clone(v.Cases)
	v.Cases[at] = changed
	if err := json.Unmarshal(changed["name"], &name); err != nil {
		t.Fatal(err)
	}
	return writeVectors(t, v), name
}

func writeVectors(t testing.TB, v vectors) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return kit.WriteFile(t, filepath.Join(t.TempDir(), "vectors.json"), b.String())
}
