package db

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"
	"golang.org/x/text/unicode/norm"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

// SearchUsers implements auth.GrantStore. The database folds the case of text and columns in the same way:
// of all letters, or of ASCII letters only.
func (d *DB) SearchUsers(ctx context.Context, text, after string, limit int) ([]auth.User, error) {
	if limit < 1 || !isStorable(after) || !isStorable(text) || utf8.RuneCountInString(text) > identifier.MaxSearch {
		return nil, nil
	}
	text = norm.NFC.String(text)
	if text == "" {
		return d.Users(ctx, after, limit)
	}
	if d.dialect.searchFirst != "" {
		users, err := d.search(ctx, d.dialect.searchFirst, after, likePattern(text), limit)
		if err != nil || len(users) == limit {
			return users, err
		}
	}
	query, term := d.dialect.search, text
	if d.path == "" {
		term = likePattern(text)
		if !hasTrigram(text) {
			query = d.dialect.searchShort
		}
	}
	return d.search(ctx, query, after, term, limit)
}

// likeEscapes escapes a text for use in a LIKE pattern.
var likeEscapes = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// searchWindow is how many users Postgres scans in list order before it uses the index. A text that many
// users match fills a page from there.
const searchWindow = 2000

func likePattern(text string) string { return "%" + likeEscapes.Replace(text) + "%" }

// hasTrigram reports whether a trigram index can narrow a search for the text: it indexes words of letters
// and digits only. Otherwise a search would read the whole index and then every row.
func hasTrigram(text string) bool {
	run := 0
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			run = 0
			continue
		}
		if run++; run == 3 {
			return true
		}
	}
	return false
}

func (d *DB) search(ctx context.Context, query, after, term string, limit int) ([]auth.User, error) {
	var rows []userRow
	err := d.read(ctx, "search users", query, func(ctx context.Context, s *sqlx.Stmt) error {
		rows = nil
		return s.SelectContext(ctx, &rows, after, term, limit)
	})
	if err != nil {
		return nil, err
	}
	users := make([]auth.User, len(rows))
	for i, r := range rows {
		users[i] = r.user()
	}
	return users, nil
}
