package problem

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var documentedCode = regexp.MustCompile("(?m)^\\| (\\d{3}) \\| `([a-z_]+)` \\| .+ \\|$")

// TestCodes_AreAllDocumented: the table of errors in docs/api.md and the schema of problems in docs/openapi.json list
// exactly the codes that the server can send.
func TestCodes_AreAllDocumented(t *testing.T) {
	manual, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range documentedCode.FindAllStringSubmatch(string(manual), -1) {
		listed = append(listed, m[2])
	}
	wantSame(t, "docs/api.md", listed)

	text, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var description struct {
		Components struct {
			Schemas struct {
				Problem struct {
					Properties struct {
						Code struct{ Enum []string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &description); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "docs/openapi.json", description.Components.Schemas.Problem.Properties.Code.Enum)
}

func wantSame(t *testing.T, name string, listed []string) {
	t.Helper()
	sorted := slices.Compact(slices.Sorted(slices.Values(listed)))
	if len(sorted) != len(listed) {
		t.Errorf("%s lists a code twice: %q", name, listed)
	}
	for _, code := range Codes() {
		if !slices.Contains(sorted, code) {
			t.Errorf("%s does not list %s", name, code)
		}
	}
	for _, code := range sorted {
		if !slices.Contains(Codes(), code) {
			t.Errorf("%s lists %s, which the server never sends", name, code)
		}
	}
}

func TestNew_TakesTheCodeFromTheStatus(t *testing.T) {
	for status, want := range map[int]string{400: "bad_request", 404: "not_found", 418: "bad_request", 422: "invalid", 500: "internal", 502: "internal", 503: "unavailable"} {
		if got := New(status); got.Code.String() != want || got.Status != status {
			t.Errorf("%d: got %+v, want the code %s", status, got, want)
		}
	}
	b, err := json.Marshal(New(404))
	if err != nil || !strings.Contains(string(b), `"code":"not_found"`) {
		t.Errorf("got %s, %v", b, err)
	}
}
