package db

import (
	"crypto/rand"
	"fmt"
	neturl "net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/auth/userlist"
	"gatehouse/internal/reqstats"
	"gatehouse/internal/testkit"
)

// fill adds so many users, fast, and lets the planner know.
func fill(t testing.TB, d *DB, n int) {
	t.Helper()
	series := `WITH RECURSIVE series (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM series WHERE i < $1) `
	id := `'00000000-0000-7000-8000-' || substr('000000000000' || i, -12)`
	if d.path == "" {
		id = `('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid`
	}
	ok(t, byHand(t, d, `INSERT INTO users (id, username, name, email, password_hash) `+series+`
		SELECT `+id+`, 'user' || i, CASE i % 3 WHEN 0 THEN 'Anna Müller' WHEN 1 THEN 'Ivan Novak' ELSE 'Zoë Okafor' END,
			'u' || i || '@example.org', 'a hash of some length, as they are: $argon2id$v=19$m=19456,t=2,p=1$' FROM series`, n))
	ok(t, byHand(t, d, `ANALYZE`))
}

// plan returns how the database runs a query.
func plan(t testing.TB, d *DB, query string, args []any) string {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	if d.path == "" {
		explain = "EXPLAIN (COSTS OFF) "
	}
	tx, err := d.pool.BeginTxx(t.Context(), nil)
	ok(t, err)
	defer tx.Rollback()
	if d.path == "" {
		// A few rows are read faster than an index, and the test wants few.
		_, err := tx.ExecContext(t.Context(), `SET LOCAL enable_seqscan = off`)
		ok(t, err)
	}
	rows, err := tx.QueryxContext(t.Context(), explain+query, args...)
	ok(t, err)
	defer rows.Close()
	var lines []string
	for rows.Next() {
		values, err := rows.SliceScan()
		ok(t, err)
		for _, v := range values {
			if b, isBytes := v.([]byte); isBytes {
				v = string(b)
			}
			lines = append(lines, fmt.Sprint(v))
		}
	}
	ok(t, rows.Err())
	return strings.Join(lines, "\n")
}

// TestFindUsers_UsesIndexes: neither kind reads the rows of all users, for a text that few have or in any order.
func TestFindUsers_UsesIndexes(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		fill(t, d, 5000)
		planOf := func(q userlist.Query) string {
			t.Helper()
			q.Limit = 51
			l, valid := d.newUserList(q)
			if !valid {
				t.Fatalf("%+v is not a valid query", q)
			}
			query, args := l.listQuery(false)
			return plan(t, d, query, args)
		}
		wantPlan := func(q userlist.Query, index string) {
			t.Helper()
			if p := planOf(q); !strings.Contains(p, index) {
				t.Errorf("%+v: the plan is without %s:\n%s", q, index, p)
			}
		}
		for _, descending := range []bool{false, true} {
			wantPlan(userlist.Query{Sort: userlist.ByCreation, Descending: descending}, "users_created_at_idx")
			wantPlan(userlist.Query{Sort: userlist.ByLastSignIn, Descending: descending}, "users_last_sign_in_at_idx")
			wantPlan(userlist.Query{Sort: userlist.ByLastSignIn, Descending: descending, After: "2026-01-01 00:00:00+00~x"}, "users_last_sign_in_at_idx")
		}
		if d.path != "" {
			return
		}
		wantPlan(userlist.Query{Text: "okafor1"}, "user_search_folded_idx")
		// The planner must not walk through all users in their order: those that are looked for may be the last.
		for _, text := range []string{"okafor1", "r9"} {
			if p := planOf(userlist.Query{Text: text}); strings.Contains(p, "Index Scan using users_username_key") {
				t.Errorf("the plan is\n%s", p)
			}
		}
	})
}

// TestFindUsers_FindsTheSameWithEveryQuery: in the first users, by trigrams, without them, and without the extension.
func TestFindUsers_FindsTheSameWithEveryQuery(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		fill(t, d, 2*searchWindow+10)
		ok(t, d.fillComputed(t.Context(), d.dialect.lockRows))
		check := func(when string) {
			t.Helper()
			for text, want := range map[string]struct{ n, most int }{
				"OKAFOR": {1337, 5000}, "okafor": {51, 51}, "müller": {1336, 5000}, "user999": {1, 51}, "zoë": {1337, 5000}, "no such user": {0, 51},
				"r9": {111, 5000}, "r 9": {0, 51}, "@": {51, 51}, "U4000@E": {1, 51}, "MULLER": {1336, 5000},
			} {
				page, err := d.FindUsers(t.Context(), userlist.Query{Text: text, Limit: want.most})
				ok(t, err)
				if len(page.Users) != want.n || !slices.IsSorted(usernames(page.Users)) {
					t.Errorf("%s: %q: %d users, want %d in order", when, text, len(page.Users), want.n)
				}
			}
		}
		check("as migrated")
		if d.path == "" {
			ok(t, byHand(t, d, `DROP INDEX user_search_folded_idx`))
			check("without the index")
		}
		// A row that is changed by hand is found at once.
		ok(t, byHand(t, d, `UPDATE users SET name = 'Quincy QUÜX' WHERE username = 'user4000'`))
		equal(t, "by the new name", search(t, d, "quux", "", 5), []string{"user4000"})
		equal(t, "by the old one", search(t, d, "user4000", "", 5), []string{"user4000"})
	})
}

// TestFindUsers_FindsManyRowsInsertedByHand: what SQL can fold is found at once, everything once FillComputed has folded it.
func TestFindUsers_FindsManyRowsInsertedByHand(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		fill(t, d, 3*computeBatch)
		equal(t, "ASCII", len(search(t, d, "NOVAK", "", 1000)), computeBatch)
		equal(t, "the ASCII of other names", len(search(t, d, "okafor", "", 1000)), computeBatch)
		equal(t, "other letters", len(search(t, d, "zoe", "", 1000)), 0)
		fillInBackground(t, d)
		testkit.Eventually(t, 20*time.Second, "other letters", func() bool { return len(search(t, d, "zoe", "", 1000)) == computeBatch })
		// A copy that is put back is found too.
		ok(t, byHand(t, d, `CREATE TABLE saved AS SELECT * FROM users WHERE username = 'user3'`))
		ok(t, byHand(t, d, `DELETE FROM users`))
		equal(t, "deleted", len(search(t, d, "example", "", 1000)), 0)
		ok(t, byHand(t, d, `INSERT INTO users SELECT * FROM saved`))
		equal(t, "restored", search(t, d, "MÜLLER", "", 5), []string{"user3"})
	})
}

// TestMigrate_FoldsExistingUsers for the search.
func TestMigrate_FoldsExistingUsers(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		fill(t, d, computeBatch+50)
		ok(t, d.Migrate(t.Context()))
		var pending int
		ok(t, d.pool.GetContext(t.Context(), &pending, `SELECT count(*) FROM user_search WHERE pending`))
		equal(t, "pending", pending, 0)
	})
}

// TestFindUsers_SortsFiltersAndPages: every order forward and backward, in pages of every size.
func TestFindUsers_SortsFiltersAndPages(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		day := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		add := func(username string, created, signedIn int, change func(*auth.User)) {
			u := newUser(username)
			u.CreatedAt = day.AddDate(0, 0, created)
			if signedIn > 0 {
				u.LastSignInAt = day.AddDate(0, 0, signedIn).Add(123456 * time.Microsecond)
			}
			if change != nil {
				change(&u)
			}
			create(t, d, u)
		}
		add("ann", 3, 5, nil)
		add("bob", 1, 0, func(u *auth.User) { u.Email = "bob@example.org" })
		add("cleo", 2, 5, func(u *auth.User) { u.Active = false })
		add("dan", 1, 4, func(u *auth.User) { u.Email, u.EmailVerified = "dan@example.org", true })
		add("eve", 1, 0, func(u *auth.User) { u.Active, u.Email = false, "eve@example.org" })
		// By hand, with other forms of times, and several at one moment.
		ok(t, byHand(t, d, `INSERT INTO users (id, username, password_hash, created_at) VALUES
			('`+uuid.NewString()+`', 'fay', 'x', '2026-05-09 00:00:00'), ('`+uuid.NewString()+`', 'gus', 'x', '2026-05-09 00:00:00'), ('`+uuid.NewString()+`', 'hal', 'x', '2026-05-09 00:00:00.5')`))
		for _, name := range []string{"ann", "dan"} {
			u, err := d.UserByUsername(t.Context(), name)
			ok(t, err)
			setMember(t, d, u, "admin", true)
		}
		for _, c := range []struct {
			query userlist.Query
			want  string
		}{
			{userlist.Query{}, "ann bob cleo dan eve fay gus hal"},
			{userlist.Query{Sort: userlist.ByCreation}, "bob dan eve cleo ann fay gus hal"},
			{userlist.Query{Sort: userlist.ByLastSignIn}, "bob eve fay gus hal dan ann cleo"},
			{userlist.Query{State: userlist.Active}, "ann bob dan fay gus hal"},
			{userlist.Query{State: userlist.Disabled, Sort: userlist.ByLastSignIn}, "eve cleo"},
			{userlist.Query{State: userlist.Unverified}, "bob eve"},
			{userlist.Query{Group: "admin", Sort: userlist.ByCreation}, "dan ann"},
			{userlist.Query{Group: "nosuch"}, ""},
			{userlist.Query{Text: "example", Sort: userlist.ByCreation}, "bob dan eve"},
			{userlist.Query{Text: "EXAMPLE", State: userlist.Active, Group: "admin"}, "dan"},
			{userlist.Query{Text: "\u0301"}, ""},
		} {
			want := strings.Fields(c.want)
			for _, descending := range []bool{false, true} {
				c.query.Descending = descending
				for size := 1; size <= len(want)+1; size++ {
					c.query.Limit = size
					wantPages(t, d, c.query, want)
				}
				slices.Reverse(want)
			}
			n, err := d.CountUsers(t.Context(), c.query, 100)
			ok(t, err)
			equal(t, fmt.Sprintf("%+v: count", c.query), n, len(want))
			if len(want) > 2 {
				n, err = d.CountUsers(t.Context(), c.query, 2)
				ok(t, err)
				equal(t, "bounded count", n, 3)
			}
		}
		for _, cursor := range []string{"\xff", "no time~x", "x", "2026-13-01 00:00:00+00~x", "'"} {
			for _, q := range []userlist.Query{{After: cursor}, {Before: cursor}} {
				q.Sort, q.Limit = userlist.ByCreation, 5
				ok(t, second(d.FindUsers(t.Context(), q)))
			}
		}
	})
}

// wantPages walks through a list to its end and back.
func wantPages(t *testing.T, d *DB, q userlist.Query, want []string) {
	t.Helper()
	var forward, backward []string
	var page auth.UserPage
	for {
		var err error
		page, err = d.FindUsers(t.Context(), q)
		ok(t, err)
		forward = append(forward, usernames(page.Users)...)
		if page.Next == "" {
			break
		}
		if len(page.Users) != q.Limit || len(forward) > len(want) {
			t.Fatalf("%+v: %d users and a next page: %q", q, len(page.Users), forward)
		}
		q.After = page.Next
	}
	if !slices.Equal(forward, want) {
		t.Errorf("%+v: got %q, want %q", q, forward, want)
	}
	backward = usernames(page.Users)
	for q.After = ""; page.Previous != ""; {
		var err error
		q.Before = page.Previous
		page, err = d.FindUsers(t.Context(), q)
		ok(t, err)
		if len(page.Users) < q.Limit { // the rest of the first page begins with the first users again
			t.Fatalf("%+v: a previous page with %d users", q, len(page.Users))
		}
		names := usernames(page.Users)
		if page.Previous == "" {
			names = names[:max(len(want)-len(backward), 0)]
		}
		backward = append(names, backward...)
	}
	if !slices.Equal(backward, want) {
		t.Errorf("%+v: backward: got %q, want %q", q, backward, want)
	}
}

// TestFindUsers_LongTextsMatchNothing: what is longer than any field is not looked for.
func TestFindUsers_LongTextsMatchNothing(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := newUser("alice")
		u.Email = strings.Repeat("a", identifier.MaxSearch-len("@example.org")) + "@example.org"
		create(t, d, u)
		equal(t, "the longest", search(t, d, u.Email, "", 5), []string{"alice"})
		for _, n := range []int{identifier.MaxSearch + 1, 1000, 50_000, 1_000_000} {
			ctx, cost := reqstats.NewContext(t.Context())
			page, err := d.FindUsers(ctx, userlist.Query{Text: strings.Repeat("a", n), Limit: 5})
			if err != nil || len(page.Users) != 0 || cost.SQLStatements() != 0 {
				t.Errorf("%d characters: %d users, %v, %d statements", n, len(page.Users), err, cost.SQLStatements())
			}
		}
	})
}

// TestSearch_MigratesWithoutTheExtension: a role that may not create pg_trgm gets the schema all the same, and
// the search works.
func TestSearch_MigratesWithoutTheExtension(t *testing.T) {
	url := testkit.PostgresURL(t)
	admin := open(t, url)
	role := "limited_" + strings.ToLower(rand.Text()[:12])
	for _, statement := range []string{
		`CREATE ROLE ` + role + ` LOGIN PASSWORD 'limited'`, `GRANT ALL ON SCHEMA public TO ` + role,
	} {
		_, err := admin.pool.ExecContext(t.Context(), statement)
		ok(t, err)
	}
	t.Cleanup(func() {
		for _, statement := range []string{`DROP OWNED BY ` + role, `DROP ROLE ` + role} {
			_, _ = admin.pool.Exec(statement)
		}
	})
	limited, err := neturl.Parse(url)
	ok(t, err)
	limited.User = neturl.UserPassword(role, "limited")
	d := open(t, limited.String())
	ok(t, d.Migrate(t.Context()))
	var indexes int
	ok(t, sqlx.GetContext(t.Context(), admin.pool, &indexes, `SELECT count(*) FROM pg_indexes WHERE indexname = 'user_search_folded_idx'`))
	equal(t, "indexes", indexes, 0)
	create(t, d, newUser("alice"))
	equal(t, "found", search(t, d, "lic", "", 5), []string{"alice"})
	equal(t, "found by two letters", search(t, d, "li", "", 5), []string{"alice"})
}

// BenchmarkFindUsers finds pages among 100,000 users, and counts them.
func BenchmarkFindUsers(b *testing.B) {
	for name, url := range map[string]string{"Postgres": testkit.PostgresURL(b), "SQLite": "sqlite:" + filepath.Join(b.TempDir(), "bench.db")} {
		d := open(b, url)
		ok(b, d.Migrate(b.Context()))
		fill(b, d, 100_000)
		ok(b, d.fillComputed(b.Context(), d.dialect.lockRows))
		ok(b, byHand(b, d, `ANALYZE`))
		for what, q := range map[string]userlist.Query{
			"all": {}, "one": {Text: "user77777"}, "none": {Text: "no such user"}, "third": {Text: "zoe"}, "two-letters": {Text: "r9"},
			"created": {Sort: userlist.ByCreation, Descending: true}, "signed-in": {Sort: userlist.ByLastSignIn, Descending: true},
			"disabled": {State: userlist.Disabled}, "one-disabled": {Text: "user77777", State: userlist.Disabled},
			"third-signed-in": {Text: "zoe", Sort: userlist.ByLastSignIn, Descending: true}, "admins": {Group: auth.AdminGroup},
		} {
			q.Limit = 50
			b.Run(name+"/"+what+"/page", func(b *testing.B) {
				for b.Loop() {
					ok(b, second(d.FindUsers(b.Context(), q)))
				}
			})
			b.Run(name+"/"+what+"/count", func(b *testing.B) {
				for b.Loop() {
					ok(b, second(d.CountUsers(b.Context(), q, 100_000)))
				}
			})
		}
	}
}

// TestFindUsers_AcceptsAnyCursor: addresses are typed and changed by hand, and a time that only Go accepts is no outage.
func TestFindUsers_AcceptsAnyCursor(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		create(t, d, newUser("alice"))
		for _, cursor := range []string{"", "x", "~", "x~y", "0000-01-01 00:00:00+00~x", "2026-01-01 00:00:00+20~x", "2026-01-01 00:00:00,5+00~x", "9999-12-31 23:59:59+00~x"} {
			_, err := d.FindUsers(t.Context(), userlist.Query{Sort: userlist.ByCreation, After: cursor, Limit: 1})
			if err != nil {
				t.Errorf("%q: %v", cursor, err)
			}
		}
	})
}
