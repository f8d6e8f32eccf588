package launcher

import (
	"bytes"
	"image"
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// write stores a file and returns its path. Each call has another modification time.
func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad_ReadsTheExample(t *testing.T) {
	apps, err := Load("../../deploy/apps.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(apps) != 3 {
		t.Fatalf("got %d apps, want 3: %+v", len(apps), apps)
	}
	wiki, grafana, invoices := apps[0], apps[1], apps[2]
	if wiki.Name != "Wiki" || wiki.URL != "https://wiki.example.org" || wiki.Description != "How we do things, and why." || wiki.Icon == nil || wiki.Icon.Kind != "image/svg+xml" || wiki.Group+wiki.Permission != "" {
		t.Errorf("got %+v", wiki)
	}
	if grafana.Group != "operators" || grafana.Icon != nil || grafana.Letter != "G" || grafana.Color < 0 || grafana.Color >= Colors {
		t.Errorf("got %+v", grafana)
	}
	if invoices.Permission != "invoices.view" {
		t.Errorf("got %+v", invoices)
	}
}

func TestLoad_AcceptsWhatYAMLAllows(t *testing.T) {
	for content, want := range map[string]string{
		"":                                   "",
		"# nothing yet\n":                    "",
		"[]":                                 "",
		"- {name: 2048, url: http://a.test}": "2048|http://a.test|",
		"- name: a\n  url: \"https://a.test\"\n  description: >\n    two\n    lines\n  icon:\n": "a|https://a.test|two lines",
		"---\n- url: https://a.test/?q=1#x\n  name: '  Zoë  X '\n":                              "Zoë X|https://a.test/?q=1#x|",
		"- name: a\r\n  url: https://a.test\r\n":                                                "a|https://a.test|",
	} {
		apps, err := Load(write(t, t.TempDir(), "apps.yaml", content))
		got := ""
		for _, a := range apps {
			got += a.Name + "|" + a.URL + "|" + a.Description
		}
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", content, got, err, want)
		}
	}
}

func TestLoad_NamesEachProblemWithItsLine(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "script.svg", `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
	write(t, dir, "click.svg", `<svg xmlns="http://www.w3.org/2000/svg"><path onclick="x()"/></svg>`)
	write(t, dir, "link.svg", `<svg xmlns="http://www.w3.org/2000/svg"><a href="javascript:x()"/></svg>`)
	write(t, dir, "entity.svg", `<!DOCTYPE svg [<!ENTITY x "y">]><svg xmlns="http://www.w3.org/2000/svg"/>`)
	write(t, dir, "page.svg", `<html xmlns="http://www.w3.org/1999/xhtml"/>`)
	write(t, dir, "text.png", "text")
	write(t, dir, "large.svg", strings.Repeat(" ", maxIcon+1))
	write(t, dir, "icon.gif", "GIF89a")
	var wide bytes.Buffer
	if err := png.Encode(&wide, image.NewGray(image.Rect(0, 0, maxIconPixels+1, 1))); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "wide.png", wide.String())
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "passwd.svg")); err != nil {
		t.Fatal(err)
	}
	app := "- name: a\n  url: https://a.test\n"
	for content, want := range map[string]string{
		"apps:\n  - name: a\n":                             ":1: this is not a list of apps",
		"just text":                                        ":1: this is not a list of apps",
		app + "- b\n":                                      ":3: this is not an app",
		app + "\n- url: https://b.test\n":                  ":4: an app needs a name",
		app + "- name: b\n":                                ":3: url: an app needs an address",
		"- name: a\n  url: wiki.example.org\n":             `:2: url: "wiki.example.org" is not an address`,
		"- name: a\n  url: javascript:alert(1)\n":          ":2: url: ",
		"- name: a\n  url: //a.test\n":                     ":2: url: ",
		"- name: a\n  url: ftp://a.test\n":                 ":2: url: ",
		"- name: a\n  url: https://u:p@a.test\n":           ":2: url: leave out the user name",
		app + "  adress: b\n":                              `:3: unknown field "adress"; an app has name, url, `,
		app + "  group: [a, b]\n":                          ":3: group is not text",
		app + "  group: &x a\n":                            ":3: group is not text",
		app + "  group: a b\n":                             ":3: group: ",
		app + "  permission: View All\n":                   ":3: permission: ",
		app + "  name: b\n":                                ":3: ",
		app + "   description: b\n":                        ":",
		"- name: \"a\n":                                    ":1: ",
		"\t- name: a":                                      ":1: ",
		"- name: \"a\\u202eb\"\n  url: https://a.test":     ":1: name: ",
		app + "  description: " + strings.Repeat("x", 201): ":3: description: use at most 200 characters",
		app + "  icon: none.svg\n":                         ":3: icon: ",
		app + "  icon: ../icon.svg\n":                      ":3: icon: ",
		app + "  icon: /etc/passwd\n":                      ":3: icon: ",
		app + "  icon: passwd.svg\n":                       ":3: icon: ",
		app + "  icon: script.svg\n":                       ":3: icon: script.svg: remove the element script",
		app + "  icon: click.svg\n":                        ":3: icon: click.svg: remove the attribute onclick",
		app + "  icon: link.svg\n":                         ":3: icon: link.svg: remove the attribute href",
		app + "  icon: entity.svg\n":                       ":3: icon: entity.svg: remove the document type",
		app + "  icon: page.svg\n":                         ":3: icon: page.svg: the root element is not svg",
		app + "  icon: text.png\n":                         ":3: icon: text.png: this is not a PNG image",
		app + "  icon: wide.png\n":                         ":3: icon: wide.png: the image has 1025 × 1 pixels; use at most 1024 × 1024",
		app + "  icon: large.svg\n":                        ":3: icon: large.svg is larger than 64 kB",
		app + "  icon: icon.gif\n":                         ":3: icon: icon.gif: use an SVG or PNG image",
	} {
		path := write(t, dir, "apps.yaml", content)
		apps, err := Load(path)
		if err == nil || apps != nil || !strings.HasPrefix(err.Error(), path+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, %v, want …%s…", content, apps, err, want)
		}
	}
	_, err := Load(write(t, dir, "apps.yaml", "- name: a\n- url: x\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v, want all three problems", err)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("without a file: got %v", err)
	}
	if _, err := Load(write(t, dir, "apps.yaml", strings.Repeat("#", maxFile+1))); err == nil {
		t.Error("a file of any size is read")
	}
}

func TestIcon_NameFollowsTheContent(t *testing.T) {
	dir := t.TempDir()
	icon := func(content string) string {
		write(t, dir, "a.svg", content)
		icon, err := readIcon(dir, "a.svg")
		if err != nil {
			t.Fatal(err)
		}
		return icon.Name
	}
	a := icon(`<svg xmlns="http://www.w3.org/2000/svg"/>`)
	b := icon(`<svg xmlns="http://www.w3.org/2000/svg"><path/></svg>`)
	if a == b || len(a) != 36 || !strings.HasSuffix(a, ".svg") {
		t.Errorf("got %q and %q, want different hashes", a, b)
	}
}

func TestApp_MatchesWordsInAnyCaseAndAccent(t *testing.T) {
	a := App{folded: fold("Zoë's Wiki Über alles")}
	for search, want := range map[string]bool{"": true, "zoe": true, "ZOË": true, "wiki zoe": true, "uber ALL": true, "grafana": false, "wiki grafana": false} {
		if a.Matches(search) != want {
			t.Errorf("%q: got %v", search, !want)
		}
	}
}

func TestLetterOf_ShowsLettersFirst(t *testing.T) {
	for name, want := range map[string]string{"wiki": "W", "éclair": "É", "(beta) x": "B", "2048": "2", "北京": "北", "🚀": "🚀", "": ""} {
		if got := letterOf(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// TestFile_FollowsChanges: a good change is used, a bad one is logged, and the last good list stays.
func TestFile_FollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		svg := `<svg xmlns="http://www.w3.org/2000/svg"></svg>`
		write(t, dir, "a.svg", svg)
		path := write(t, dir, "apps.yaml", "- {name: one, url: https://a.test, icon: a.svg}\n")
		var log lockedBuffer // sleeping does not order the test's accesses and Watch's for the race detector
		f, err := Open(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		go f.Watch(t.Context())
		want := func(names, logged string) {
			t.Helper()
			time.Sleep(2 * pollInterval) // on the bubble's fake clock, which advances only while Watch waits for its ticker
			synctest.Wait()
			var got []string
			for _, a := range f.Apps() {
				got = append(got, a.Name)
			}
			text := log.take()
			if strings.Join(got, " ") != names || !strings.Contains(text, logged) {
				t.Errorf("got %q, want %q; the log says %s", got, names, text)
			}
			if logged == "" && text != "" {
				t.Errorf("without news the log says %s", text)
			}
		}
		change := func(name, content string) {
			write(t, dir, name, content)
			later := time.Now() // of the bubble, so that it differs each time
			if err := os.Chtimes(filepath.Join(dir, name), later, later); err != nil {
				t.Fatal(err)
			}
		}
		want("one", "")
		change("apps.yaml", "- {name: two, url: https://a.test, icon: a.svg}\n")
		want("two", "APPS_FILE has changed")
		change("apps.yaml", "- {name: three, url: a.test}\n")
		want("two", "apps.yaml:1: url: ")
		want("two", "") // the same problem is not logged again
		change("apps.yaml", "- {name: four, url: https://a.test, icon: a.svg}\n- {name: five, url: https://b.test}\n")
		want("four five", "apps=2")
		icon := f.Apps()[0].Icon.Name
		change("a.svg", strings.Replace(svg, "><", "><path/><", 1))
		want("four five", "APPS_FILE has changed")
		if f.Apps()[0].Icon.Name == icon {
			t.Error("the changed icon is not read")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		want("four five", "no such file")
	})
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was written since it was last called.
func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func TestOpen_WithoutAFile(t *testing.T) {
	f, err := Open("", nil)
	if err != nil || len(f.Apps()) != 0 {
		t.Fatalf("got %v, %v", f, err)
	}
	f.Watch(t.Context()) // returns
	if _, err := Open(filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil {
		t.Error("a missing file is no error")
	}
}

// TestLoad_LimitsTheNumberOfApps: a list that would not fit into a page is refused before its images are read.
func TestLoad_LimitsTheNumberOfApps(t *testing.T) {
	entry := "- {name: a, url: \"https://a.test\", icon: missing.svg}\n"
	path := write(t, t.TempDir(), "apps.yaml", strings.Repeat(entry, maxApps+1))
	if _, err := Load(path); err == nil || err.Error() != path+":1: there are more than 500 apps" {
		t.Errorf("got %v", err)
	}
}
