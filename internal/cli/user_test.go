package cli

import (
	"strings"
	"testing"
)

func TestUserAdd_ChecksBeforeAskingForThePassword(t *testing.T) {
	env := map[string]string{}
	addUser(t, env, "ann", "--email", "ann@example.org")
	for args, want := range map[string]string{
		"ANN":                         "username: This name is taken",
		"two words":                   "username: ",
		"bob|--email|bob":             "email: ",
		"bob|--email|ann@example.org": "email: Another account has this address.",
		"bob|--group|readers":         "there is no such group",
		"bob":                         "there is no terminal to read the password from; use --password-stdin",
	} {
		if _, _, err := runIn(t, env, append([]string{"user", "add"}, strings.Split(args, "|")...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}

func TestUser_ShowSetVerifyDelete(t *testing.T) {
	env := map[string]string{}
	addUser(t, env, "ann", "--group", "admin")
	addUser(t, env, "bob", "--name", "Bob")
	run := func(want string, args ...string) {
		t.Helper()
		out, errs, err := runIn(t, env, args...)
		if err != nil {
			out += err.Error()
		}
		if !strings.Contains(out, want) {
			t.Errorf("%v: got %s%s, want %q", args, out, errs, want)
		}
	}
	run("has no email address; set one with: gatehouse user set bob --email ADDRESS", "user", "verify", "bob")
	run("Changed bob.", "user", "set", "bob", "--email", "Bob@Example.org", "--time-zone", "Europe/Berlin", "--name", "")
	run("bob@example.org is verified", "user", "verify", "bob")
	run("Granted", "user", "grant", "bob", "users.manage")
	run("bob is in the group admin.", "user", "join", "bob", "admin")
	for _, line := range []string{"Name          -\n", "Email         bob@example.org (verified)\n", "Time zone     Europe/Berlin\n", "users.manage (direct, group admin), users.view (group admin)\n", "Sessions      0\n", "Last sign-in  never\n"} {
		run(line, "user", "show", "bob")
	}
	run("time_zone: ", "user", "set", "bob", "--time-zone", "Mars/Base")
	run("nothing to set", "user", "set", "bob")
	run("there is no terminal to ask for confirmation; use --yes", "user", "delete", "bob")
	run("Deleted bob.", "user", "delete", "bob", "--yes")
	run(`there is no user "bob"`, "user", "show", "bob")
	run("no active user would be left", "user", "delete", "ann", "--yes")
	run("Deleted ann.", "user", "delete", "ann", "--yes", "--force")
}

func TestAdminGroup_ComesBack(t *testing.T) {
	for _, command := range []string{"add", "join"} {
		env := map[string]string{}
		addUser(t, env, "ann")
		if _, _, err := runIn(t, env, "user", "grant", "ann", "users.manage"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := runIn(t, env, "group", "remove", "admin"); err == nil || !strings.Contains(err.Error(), "--force overrides this") {
			t.Errorf("without --force: %v", err)
		}
		if _, _, err := runIn(t, env, "group", "remove", "admin", "--force"); err != nil {
			t.Fatal(err)
		}
		if command == "add" {
			addUser(t, env, "bob", "--group", "admin")
		} else if out, _, err := runIn(t, env, "user", "join", "ann", "admin"); err != nil || !strings.Contains(out, "exists again") {
			t.Errorf("%v, %s", err, out)
		}
		if out, _, err := runIn(t, env, "group", "list"); err != nil || !strings.Contains(out, "admin  1        users.manage users.view") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	env := map[string]string{}
	addUser(t, env, "ann", "--group", "admin")
	if _, _, err := runIn(t, env, "group", "remove", "admin", "--force"); err == nil || !strings.Contains(err.Error(), "gatehouse user grant NAME users.manage") {
		t.Errorf("the last administrator's group: %v", err)
	}
}

func TestDevice_NamesBrowserAndSystem(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Linux", "curl/8.0": "curl", "": "-",
	} {
		if got := device(agent); got != want {
			t.Errorf("%q: got %q, want %q", agent, got, want)
		}
	}
}
