package kit

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"gatehouse/internal/testkit"
)

// CheckHTML runs the Nu checker over a directory. It is strict: warnings fail the test, too.
func CheckHTML(t *testing.T, dir string) {
	t.Helper()
	jar := testkit.NodeModule(t, "vnu-jar/build/dist/vnu.jar")
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.Tool(t, "java"), append([]string{"-Xshare:auto", "-jar", jar, "--format", "json", "--also-check-css", "--also-check-svg"}, files...)...)
	var out bytes.Buffer
	cmd.Stderr = &out
	runErr := cmd.Run()
	var report struct {
		Messages []struct{ Type, SubType, URL, Message, Extract string }
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("the HTML checker: %v, %v\n%s", runErr, err, out.String())
	}
	for _, m := range report.Messages {
		// The checker does not know this rule of the CSS Properties and Values API yet.
		if m.Message == "CSS: Unrecognized at-rule “@property”" {
			continue
		}
		t.Errorf("%s: %s %s: %s: %q", filepath.Base(m.URL), m.Type, m.SubType, m.Message, m.Extract)
	}
	t.Logf("the HTML checker read %d files", len(files))
}
