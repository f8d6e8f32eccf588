package api

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mattn/go-runewidth"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestFirstHour_RegisteredUserBecomesAdministrator: on the embedded stores, the command that the start prints takes
// effect in the running server immediately, and the next start does not print it any more.
func TestFirstHour_RegisteredUserBecomesAdministrator(t *testing.T) {
	t.Parallel()
	binary := testkit.BuildWithoutRace(t)
	data := filepath.Join(t.TempDir(), "data")
	env := map[string]string{"DATA_DIR": data}
	server := testkit.StartServer(t, binary, env)
	advice := fmt.Sprintf("DATA_DIR=%s %s user join NAME admin", data, binary)
	if !strings.Contains(server.Log(), advice) {
		t.Fatalf("the start does not advise %q:\n%s", advice, server.Log())
	}
	ann := kit.NewClient(t, server.URL())
	ann.PostForm("/register", "username", "ann", "password", kit.Password)
	ann.WantStatus(ann.Get("/admin/users"), http.StatusForbidden)

	typed := exec.Command("sh", "-c", strings.Replace(advice, "NAME", "ann", 1))
	typed.Dir, typed.Env = t.TempDir(), []string{"PATH=" + os.Getenv("PATH")}
	if out, err := typed.CombinedOutput(); err != nil || string(out) != "ann is in the group admin.\n" {
		t.Fatalf("%v: %s", err, out)
	}
	ann.WantStatus(ann.Get("/admin/users"), http.StatusOK)

	listed := kit.RunCommand(t, env, "", "session", "list", "ann")
	listed.WantCode(t, 0)
	if !regexp.MustCompile(`^SESSION +SIGNED IN +LAST SEEN +ENDS BY +ADDRESS +DEVICE\n\S{10}  20.* 127\.0\.0\.1 .*\n$`).MatchString(listed.Stdout) {
		t.Errorf("session list:\n%s", listed.Stdout)
	}
	_, row, _ := strings.Cut(listed.Stdout, "\n")
	kit.RunCommand(t, env, "", "session", "end", "ann", strings.Fields(row)[0]).WantOutput(t, "Ended the session of ann.\n")
	if ann.IsSignedIn() {
		t.Error("the ended session is still valid")
	}

	server.Stop()
	if again := testkit.StartServer(t, binary, env).Log(); strings.Contains(again, "user join") {
		t.Errorf("the start advises what is done already:\n%s", again)
	}
}

// TestFirstHour_AdvisesOnlyMissingSettings: the start names the settings for production that are not set.
func TestFirstHour_AdvisesOnlyMissingSettings(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("BASE_URL=https://login.example.org\nLISTEN_ADDR=127.0.0.1:1\nSECRET_KEY="+kit.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.BuildWithoutRace(t), "serve")
	cmd.Dir = dir
	address := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	cmd.Env = []string{"LISTEN_ADDR=" + address, "REDIS_URL=" + s.RedisURL}
	said := startedOutput(t, cmd, address)
	for _, part := range []string{"read 2 settings from .env", "In production, set DATABASE_URL (postgres://…). All settings: ", "gatehouse help settings", "Gatehouse is running at https://login.example.org"} {
		if !strings.Contains(strings.Join(strings.Fields(said), " "), part) {
			t.Errorf("the start does not say %q:\n%s", part, said)
		}
	}
	for _, part := range []string{"SECRET_KEY", "REDIS_URL (", kit.SecretKey} {
		if strings.Contains(said, part) {
			t.Errorf("the start says %q:\n%s", part, said)
		}
	}
}

// TestREADME_DeploysAsTyped runs the commands for production on a fresh Postgres without TLS and a fresh Redis. Only their
// addresses and password, the program's path and the address to listen on are replaced.
func TestREADME_DeploysAsTyped(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Deploy it\n")
	_, block, found := strings.Cut(section, "```sh\nmake dist ")
	block, _, closed := strings.Cut(block, "\n```")
	_, block, line := strings.Cut(block, "\n")
	if !found || !closed || !line {
		t.Fatalf("the README has no block that begins with make dist:\n%s", section)
	}
	database, err := url.Parse(testkit.PostgresURL(t))
	if err != nil {
		t.Fatal(err)
	}
	redis := testkit.StartRedis(t)
	replace := func(old, new string) {
		t.Helper()
		if !strings.Contains(block, old) {
			t.Fatalf("the block does not contain %q:\n%s", old, block)
		}
		block = strings.ReplaceAll(block, old, new)
	}
	password, _ := database.User.Password()
	replace("gatehouse:change-me@localhost:5432/gatehouse?", database.User.Username()+":"+password+"@"+database.Host+database.Path+"?")
	replace("localhost:6379", redis.Addr())
	replace("dist/gatehouse", testkit.BuildWithoutRace(t))
	replace("asks for the password\n", "\n")
	replace("--group admin", "--group admin --password-stdin <password")
	block, isServe := strings.CutSuffix(block, " serve")
	if !isServe {
		t.Fatalf("the block does not end with serve:\n%s", block)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(kit.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh", "-e", "-c", block+" version")
	shell.Dir = dir
	// localhost:8080, the default, may be taken where the test runs.
	address := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	shell.Env = []string{"PATH=" + os.Getenv("PATH"), "LISTEN_ADDR=" + address}
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, block, out)
	}
	for _, part := range []string{"The schema is at version", "sets 4 settings", "Added boss."} {
		if !strings.Contains(string(out), part) {
			t.Errorf("the commands do not say %q:\n%s", part, out)
		}
	}
	if strings.Contains(string(out), "FAULT") || strings.Contains(string(out), "warn") {
		t.Errorf("the doctor is not content:\n%s", out)
	}
	cmd := exec.Command(testkit.BuildWithoutRace(t), "serve")
	cmd.Dir, cmd.Env = dir, shell.Env
	said := startedOutput(t, cmd, address)
	c := kit.NewClient(t, "http://"+address)
	c.WantStatus(c.Get("/login"), http.StatusOK)
	if strings.Contains(said, "user join") {
		t.Errorf("the start advises what is done already:\n%s", said)
	}
}

// startedOutput starts a server and returns what it has printed when it is ready.
func startedOutput(t *testing.T, cmd *exec.Cmd, address string) string {
	t.Helper()
	server := testkit.StartProgram(t, cmd, address)
	testkit.Eventually(t, kit.WaitTimeout, "the server to listen", func() bool { return strings.Contains(server.Output(), `"listening"`) })
	return server.Output()
}

// TestPrompt_ComesAfterAllChecks: a taken or invalid name is reported before the password is asked for.
func TestPrompt_ComesAfterAllChecks(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	kit.RunCommand(t, env, kit.Password, "user", "add", "ann", "--password-stdin").WantCode(t, 0)
	for name, want := range map[string]string{"ANN": "This name is taken", "two words": "username: "} {
		p := onTerminalIn(t, env["DATA_DIR"], "user", "add", name)
		if code := p.awaitEnd(); code != 1 {
			t.Errorf("%s: exit code %d, want 1", name, code)
		}
		p.await(want)
		if strings.Contains(p.shown(), "Password") {
			t.Errorf("%s: the terminal shows %q", name, p.shown())
		}
	}
	// Ctrl-C ends the question before a deletion as well, and nothing but the name answers it.
	for typed, code := range map[string]int{"\x03": 130, "an": 130, "bob\n": 1, "\n": 1} {
		p := onTerminalIn(t, env["DATA_DIR"], "user", "delete", "ann")
		p.await("Type the user name to confirm: ")
		p.typeIn(typed)
		if typed == "an" {
			_ = p.cmd.Process.Signal(syscall.SIGINT)
		}
		if got := p.awaitEnd(); got != code {
			t.Errorf("%q: exit code %d, want %d", typed, got, code)
		}
		p.await("nothing was changed")
	}
	p := onTerminalIn(t, env["DATA_DIR"], "user", "delete", "ann")
	p.await("Type the user name to confirm: ")
	p.typeIn("ann\n")
	if code := p.awaitEnd(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.await("Deleted ann.")
}

// TestUserList_FitsTheTerminal: every line has at most the terminal's width.
func TestUserList_FitsTheTerminal(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	for name, display := range map[string]string{"ann": strings.Repeat("Ann 👩🏽‍🚀 ", 9), "li": "李小龍", strings.Repeat("b", 60): "Bob"} {
		kit.RunCommand(t, env, kit.Password, "user", "add", name, "--password-stdin", "--name", display, "--email", name+"@example.org").WantCode(t, 0)
	}
	p := onTerminalIn(t, env["DATA_DIR"], "user", "list")
	if code := p.awaitEnd(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.await("李小龍")
	for line := range strings.Lines(p.shown()) {
		if width := runewidth.StringWidth(strings.TrimRight(line, "\r\n")); width > terminalColumns {
			t.Errorf("%d columns: %q", width, line)
		}
	}
	if !strings.Contains(p.shown(), "…") {
		t.Errorf("nothing was shortened:\n%s", p.shown())
	}
}

// TestImport_ShowsProgressOnATerminal, and only there.
func TestImport_ShowsProgressOnATerminal(t *testing.T) {
	t.Parallel()
	const hash = "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6"
	rows := "id,email,password\n"
	for i := range 200 {
		rows += fmt.Sprintf("%d,user%d@example.org,%s\n", i, i, hash)
	}
	file := filepath.Join(t.TempDir(), "users.csv")
	if err := os.WriteFile(file, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	p := onTerminal(t, "user", "import", file)
	if code := p.awaitEnd(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.await("Imported 200;")
	if !strings.Contains(p.shown(), "/200)") {
		t.Errorf("no progress: %q", p.shown())
	}
	cmd := exec.Command(testkit.BuildWithoutRace(t), "user", "import", file)
	cmd.Env = []string{"DATA_DIR=" + filepath.Join(t.TempDir(), "data")}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "\r") || strings.Contains(string(out), "\x1b") {
		t.Errorf("in a pipe: %v, %q", err, out)
	}
}

// terminalColumns is the width of the terminals in these tests.
const terminalColumns = 80

// onTerminalIn is onTerminal with the embedded stores in the directory.
func onTerminalIn(t *testing.T, data string, args ...string) *terminal {
	t.Helper()
	return startOnTerminal(t, []string{"DATA_DIR=" + data}, args...)
}
