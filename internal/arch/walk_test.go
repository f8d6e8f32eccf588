package arch

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestWalk_NamesExistingFiles: the walk of a request in docs/design.md leads through at most twelve files, each of which
// exists and occurs once.
func TestWalk_NamesExistingFiles(t *testing.T) {
	const root = "../../"
	page, err := os.ReadFile(root + "docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, row := range regexp.MustCompile("(?m)^\\| \\d+ \\| `([^`]+)` \\|").FindAllSubmatch(page, -1) {
		file := string(row[1])
		if _, err := os.Stat(root + file); err != nil {
			t.Error(err)
		}
		if slices.Contains(files, file) {
			t.Errorf("%s occurs twice", file)
		}
		files = append(files, file)
	}
	if len(files) == 0 || len(files) > 12 {
		t.Errorf("the walk leads through %d files, want 1 to 12: %q", len(files), files)
	}
}
