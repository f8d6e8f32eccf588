package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun_ReportsAllFaults(t *testing.T) {
	env := map[string]string{"LISTEN_ADDR": "x", "SESSION_IDLE": "soon", "REGISTRATION": "perhaps", "PASSWORD_MIN_LENGTH": "ten", "SMTP_URL": "smtp://h", "REDIS_URL": "redis://127.0.0.1:1"}
	_, _, err := runIn(t, env, "serve")
	var report bytes.Buffer
	if code := Report(t.Context(), err, &report); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, name := range []string{"LISTEN_ADDR ", "SESSION_IDLE: ", "REGISTRATION ", "PASSWORD_MIN_LENGTH: ", "SMTP_URL ", "SECRET_KEY is required"} {
		if strings.Count("\n"+report.String(), "\ngatehouse: "+name) != 1 {
			t.Errorf("not one line about %s:\n%s", name, &report)
		}
	}
	if lines := strings.Count(report.String(), "\n"); lines != 6 {
		t.Errorf("%d lines, want 6:\n%s", lines, &report)
	}
	// The doctor reports them as well, and checks everything else.
	out, _, err := runIn(t, env, "doctor")
	for _, line := range []string{"FAULT  settings     SESSION_IDLE: \"soon\" is not a duration", "FAULT  SECRET_KEY   is required", "FAULT  REDIS_URL", "ok     DATABASE_URL SQLite responds"} {
		if err == nil || !strings.Contains(out, line) {
			t.Errorf("doctor: %v, and no line %q\n%s", err, line, out)
		}
	}
}

// TestRun_CapsDefaultIdleTimes: setting only a lifetime does not require setting the idle time.
func TestRun_CapsDefaultIdleTimes(t *testing.T) {
	if _, _, err := runIn(t, map[string]string{"SESSION_LIFETIME": "1h", "REMEMBER_LIFETIME": "1d"}, "user", "list"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		env  map[string]string
		args []string
	}{
		{map[string]string{"SESSION_LIFETIME": "1h", "SESSION_IDLE": "2h"}, []string{"user", "list"}},
		{map[string]string{"SESSION_LIFETIME": "1h"}, []string{"user", "list", "--session-idle=2h"}},
	} {
		if _, _, err := runIn(t, c.env, c.args...); err == nil || !strings.HasPrefix(err.Error(), "SESSION_IDLE is 2h, which is longer than SESSION_LIFETIME (1h)") {
			t.Errorf("%v %v: got %v", c.env, c.args, err)
		}
	}
}

func TestRun_ReadsTheEnvFile(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(".env", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("PASSWORD_MIN_LENGTH=12\nDATA_DIR=here\nLISTEN_ADDR=localhost:1\n")
	out, _, _ := runIn(t, map[string]string{"LISTEN_ADDR": "localhost:0", "DATA_DIR": ""}, "doctor")
	if !strings.Contains(out, "ok     .env         sets 2 settings") || !strings.Contains(out, "localhost:0 is available") {
		t.Errorf("doctor:\n%s", out)
	}
	if err := os.Chmod(".env", 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _, _ := runIn(t, map[string]string{"DATA_DIR": ""}, "doctor"); !strings.Contains(out, "warn   .env         other users of this machine can read it: chmod 600 .env") {
		t.Errorf("a readable file:\n%s", out)
	}
	if _, err := os.Stat("here"); err != nil {
		t.Errorf("the data directory that the file names: %v", err)
	}
	write("PASSWORD_MIN_LENGTH=7\nhunter2\n")
	if _, _, err := runIn(t, map[string]string{"DATA_DIR": "there"}, "user", "list"); err == nil || err.Error() != ".env: line 2 is not NAME=value" {
		t.Errorf("got %v", err)
	}
}

func TestRun_ExitsWith2AfterWrongUsage(t *testing.T) {
	for line, help := range map[string]string{
		"nonsense": "", "--nonsense": "", "--session-idle=soon": "", "user": " user", "user add": " user add", "user list x": " user list", "user import x --from=nowhere": " user import",
		"help nonsense": " help", "user set ann": " user set",
	} {
		args := strings.Fields(line)
		_, _, err := runIn(t, map[string]string{}, args...)
		var report bytes.Buffer
		if code := Report(t.Context(), err, &report); code != 2 || strings.Count(report.String(), "\n") != 1 || !strings.Contains(report.String(), "(gatehouse"+help+" --help explains the usage)") {
			t.Errorf("%v: exit code %d, %s", args, code, &report)
		}
	}
}

// TestAppsFile_FaultsAbortStartup, and the doctor finds them too.
func TestAppsFile_FaultsAbortStartup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "apps.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func() map[string]string { return map[string]string{"APPS_FILE": path, "LISTEN_ADDR": "localhost:0"} }
	write("- name: Wiki\n  url: wiki.example.org\n- url: https://example.org\n")
	_, _, err := runIn(t, env(), "serve")
	var report bytes.Buffer
	if code := Report(t.Context(), err, &report); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	out, _, err := runIn(t, env(), "doctor")
	if err == nil {
		t.Error("the doctor finds nothing")
	}
	for _, problem := range []string{path + ":2: url: ", path + ":3: an app needs a name"} {
		if !strings.Contains("\n"+report.String(), "\ngatehouse: APPS_FILE: "+problem) {
			t.Errorf("serve says\n%s", &report)
		}
		if !strings.Contains(out, "FAULT  APPS_FILE    "+problem) {
			t.Errorf("the doctor says\n%s", out)
		}
	}
	write("- name: Wiki\n  url: https://wiki.example.org\n")
	if out, _, _ := runIn(t, env(), "doctor"); !strings.Contains(out, "ok     APPS_FILE    apps listed: 1") {
		t.Errorf("the doctor says\n%s", out)
	}
}
