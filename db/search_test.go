package db

import (
	"crypto/rand"
	"fmt"
	neturl "net/url"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth/identifier"
	"gatehouse/internal/reqstats"
	"gatehouse/internal/testkit"
)

// fill inserts n users in one statement and updates the planner's statistics.
func fill(t *testing.T, d *DB, n int) {
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

// plan returns the query plan of a search.
func plan(t testing.TB, d *DB, query, term string) string {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	if d.path == "" {
		explain = "EXPLAIN (COSTS OFF) "
	}
	tx, err := d.pool.BeginTxx(t.Context(), nil)
	ok(t, err)
	defer tx.Rollback()
	if d.path == "" {
		// The planner would prefer a sequential scan for the few rows of this test.
		_, err := tx.ExecContext(t.Context(), `SET LOCAL enable_seqscan = off`)
		ok(t, err)
	}
	rows, err := tx.QueryxContext(t.Context(), explain+query, "", term, 51)
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

// TestSearch_UsesAnIndex: neither database reads the rows of all users for a rare text.
func TestSearch_UsesAnIndex(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		fill(t, d, 5000)
		term := "okafor1"
		if d.path == "" {
			term = likePattern(term)
		}
		if p := plan(t, d, d.dialect.search, term); !strings.Contains(p, "users_search_idx") {
			t.Errorf("the plan does not use users_search_idx:\n%s", p)
		}
		// The planner must not scan all users in order: the matches may come last.
		if d.path == "" {
			for _, query := range []string{d.dialect.search, d.dialect.searchShort} {
				if p := plan(t, d, query, term); strings.Contains(p, "Index Scan using users_username_key") {
					t.Errorf("the plan scans all users in order:\n%s", p)
				}
			}
		}
	})
}

// TestSearch_FindsTheSameWithEveryQuery: by the window of first users, by trigrams, and without the index.
func TestSearch_FindsTheSameWithEveryQuery(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		fill(t, d, 2*searchWindow+10)
		check := func(when string) {
			t.Helper()
			for text, want := range map[string]struct{ n, most int }{
				"OKAFOR": {1337, 5000}, "okafor": {51, 51}, "müller": {1336, 5000}, "user999": {1, 51}, "zoë": {1337, 5000}, "no such user": {0, 51},
				"r9": {111, 5000}, "r 9": {0, 51}, "@": {51, 51}, "U4000@E": {1, 51},
			} {
				users, err := d.SearchUsers(t.Context(), text, "", want.most)
				ok(t, err)
				if len(users) != want.n {
					t.Errorf("%s: %q: got %d users, want %d", when, text, len(users), want.n)
				}
				for i := 1; i < len(users); i++ {
					if users[i-1].Username >= users[i].Username {
						t.Errorf("%s: %q: %s comes before %s", when, text, users[i-1].Username, users[i].Username)
					}
				}
			}
		}
		check("as migrated")
		if d.path == "" {
			ok(t, byHand(t, d, `DROP INDEX users_search_idx`))
			check("without the index")
		}
		// A row changed with plain SQL is found immediately.
		ok(t, byHand(t, d, `UPDATE users SET name = 'Quincy Quux' WHERE username = 'user4000'`))
		equal(t, "by the new name", search(t, d, "quux", "", 5), []string{"user4000"})
		equal(t, "by the old one", search(t, d, "user4000", "", 5), []string{"user4000"})
	})
}

// TestSearch_LongTextsMatchNothing: a text longer than any field is answered without a statement.
func TestSearch_LongTextsMatchNothing(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := newUser("alice")
		u.Email = strings.Repeat("a", identifier.MaxSearch-len("@example.org")) + "@example.org"
		create(t, d, u)
		equal(t, "the longest", search(t, d, u.Email, "", 5), []string{"alice"})
		for _, n := range []int{identifier.MaxSearch + 1, 1000, 50_000, 1_000_000} {
			ctx, cost := reqstats.NewContext(t.Context())
			users, err := d.SearchUsers(ctx, strings.Repeat("a", n), "", 5)
			if err != nil || len(users) != 0 || cost.SQLStatements() != 0 {
				t.Errorf("%d characters: got %d users, %v and %d statements, want none", n, len(users), err, cost.SQLStatements())
			}
		}
	})
}

// TestSearch_MigratesWithoutTheExtension: a role without the privilege to create pg_trgm can migrate and search.
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
	ok(t, sqlx.GetContext(t.Context(), admin.pool, &indexes, `SELECT count(*) FROM pg_indexes WHERE indexname = 'users_search_idx'`))
	equal(t, "indexes", indexes, 0)
	create(t, d, newUser("alice"))
	equal(t, "found", search(t, d, "lic", "", 5), []string{"alice"})
	equal(t, "found by two letters", search(t, d, "li", "", 5), []string{"alice"})
}
