package browser

import (
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"gatehouse/internal/e2e/kit"
)

var wholeToken = regexp.MustCompile(`gatehouse_[0-9A-Za-z]{38}`)

// visible is a JavaScript expression for whether the page shows an element.
func visible(selector string) string {
	return `document.querySelector(` + kit.ToJSON(selector) + `).checkVisibility()`
}

// check clicks on a radio button or checkbox of the form.
func check(p *kit.Browser, name, value string) {
	p.T.Helper()
	p.Do(chromedp.Click(chromedp.CSS(`input[name="` + name + `"][value="` + value + `"]`)))
}

// TestTokens_CreateWithDateAndPermissions: the form shows what a choice needs, and the page shows the token once, with a
// command that works as it is.
func TestTokens_CreateWithDateAndPermissions(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		name := "tokens" + kit.UniqueName()
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.OtherHosts = append(p.OtherHosts, "data://") // the icon that Chromium draws in a date field
		p.Register(name)
		s.Run("", "user", "join", name, "admin").WantCode(t, 0)
		p.Open("/account/tokens", http.StatusOK)
		p.WantText(".empty", "Create your first one below")
		if kit.Eval[bool](p, visible("#until")) || kit.Eval[bool](p, visible("[name=permissions]")) {
			t.Error("the form shows the date and the permissions before they are chosen")
		}
		check(p, "days", "date")
		check(p, "access", "limited")
		check(p, "permissions", "users.view")
		p.Fill("name", "backup")
		p.Submit("/account/tokens", http.StatusUnprocessableEntity)
		p.WantFocus("until")
		p.WantDescription("until", "Choose a date from ")
		if !kit.Eval[bool](p, visible("[name=permissions]")) {
			t.Error("the form does not show the chosen permissions")
		}
		date := time.Now().UTC().AddDate(0, 0, 40).Format(time.DateOnly)
		p.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#until").value = "` + date + `"`))
		p.Submit("/account/tokens", http.StatusOK)

		token := p.Value("secret")
		if !wholeToken.MatchString(token) || strings.Contains(p.Path(), token) {
			t.Fatalf("%s shows the token %q", p.Path(), token)
		}
		p.WantText(".rows code", token[:14]+"…"+token[len(token)-4:])
		p.WantText(".rows .tags", "users.view")
		if expires := kit.Eval[string](p, `document.querySelector("#secret-help time").dateTime`); expires != date+"T23:59:59Z" {
			t.Errorf("the token expires at %s", expires)
		}
		// The test servers have the default BASE_URL.
		line := strings.Replace(p.Value("command"), "http://localhost:8080", server.URL(), 1)
		command := exec.CommandContext(t.Context(), "sh", "-c", line+" --silent --show-error")
		if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), `"username":"`+name+`"`) || !strings.Contains(string(out), `["users.view"]`) {
			t.Errorf("%s: %v, %s", command, err, out)
		}
		if !script {
			return
		}
		p.Load(http.StatusOK, chromedp.Evaluate[chromedp.Void](`location.reload()`))
		if p.Has("#secret") || wholeToken.MatchString(p.Text("body")) || p.CountPosts("/account/tokens") != 2 {
			t.Error("reloading the page shows the token again, or creates another one")
		}
	})
}

// TestTokens_CopyButtons copy the token and the command, with the clipboard API or, without HTTPS, without it.
func TestTokens_CopyButtons(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	for name, clipboard := range map[string]string{
		"API":     `Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => { copied = text } } })`,
		"command": `Object.defineProperty(navigator, "clipboard", { value: undefined }); document.execCommand = () => { copied = getSelection() + ""; return true }`,
		"neither": `Object.defineProperty(navigator, "clipboard", { value: undefined }); document.execCommand = () => false`,
	} {
		t.Run(name, func(t *testing.T) {
			p := kit.NewBrowser(t, server.URL(), kit.OnNewDocument(`var copied = ""; `+clipboard))
			p.Register("copy" + kit.UniqueName())
			p.Open("/account/tokens", http.StatusOK)
			p.Fill("name", "copied")
			p.Submit("/account/tokens", http.StatusOK)
			for _, field := range []string{"secret", "command"} {
				button := "#" + field + " + .show"
				p.Do(chromedp.Click(chromedp.CSS(button)))
				if name == "neither" {
					p.WaitFor("the announcement", `document.querySelector("#`+field+` ~ [aria-live]").textContent.includes("not copied")`)
					if kit.Eval[string](p, `getSelection() + ""`) != p.Value(field) {
						t.Errorf("the text of #%s is not selected", field)
					}
					continue
				}
				p.WaitFor("the announcement", `document.querySelector("#`+field+` ~ [aria-live]").textContent === "Copied"`)
				if copied := kit.Eval[string](p, `copied`); copied != p.Value(field) || copied == "" {
					t.Errorf("#%s: copied %q, want %q", field, copied, p.Value(field))
				}
				p.WantText(button, "Copied")
				p.WaitFor("the button to offer it again", `document.querySelector("`+button+`").textContent === "Copy"`)
			}
		})
	}
}
