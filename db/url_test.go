package db

import (
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

func TestCheckURL_NamesTheProblem(t *testing.T) {
	for url, want := range map[string]string{
		"sqlite:x.db": "", "postgres://u:p@h/d": "", "postgresql://h:5433/d": "", "postgres://a:1,b:2/d": "", "postgres://u@[::1]:5432/d": "", "postgres://u@h/d?sslmode=disable": "",
		"mysql://h/d":                              "must be postgres://… or sqlite:PATH",
		"h":                                        "must be postgres://… or sqlite:PATH",
		"postgres://u:hunter2@h:99999/d":           "the port is not a number",
		"postgres://u:hunter2@h:0/d":               "the port is not a number",
		"postgres://u:hunter2@h:x/d":               "the port is not a number",
		"postgres://u:hunter2@a:1,b:x/d":           "the port is not a number",
		"postgres://u:hunter2/@h/d":                "percent-encoded",
		"postgres://u:hunter2%zz@h/d":              "percent-encoded",
		"postgres://u:hunter2@h/d?sslmode=perhaps": "sslmode",
	} {
		err := CheckURL(url)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}

func TestPostgresWithoutTLS_IsExplained(t *testing.T) {
	url := testkit.PostgresURL(t)
	if !strings.Contains(url, "sslmode=disable") {
		testkit.Unavailable(t, "TEST_DATABASE_URL does not say sslmode=disable, so its Postgres may use TLS")
	}
	d := open(t, strings.Replace(url, "sslmode=disable", "sslmode=require", 1))
	for name, err := range map[string]error{"status": second(d.Status(t.Context())), "migrate": d.Migrate(t.Context()), "ping": d.Ping(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "this Postgres server does not use TLS") || !strings.Contains(err.Error(), "?sslmode=disable") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHasAdministrator_CountsOnlyActiveUsers(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		want := func(want bool) {
			t.Helper()
			if got, err := d.HasAdministrator(t.Context()); err != nil || got != want {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
		}
		want(false)
		alice := setMember(t, d, create(t, d, newUser("alice")), "admin", true)
		want(true)
		bob := create(t, d, newUser("bob"))
		ok(t, second(d.SetPermission(t.Context(), bob.ID, "users.manage", true)))
		ok(t, second(d.SetActive(t.Context(), alice.ID, false)))
		want(true)
		ok(t, second(d.SetActive(t.Context(), bob.ID, true)))
	})
}
