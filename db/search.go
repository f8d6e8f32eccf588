package db

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/auth/userlist"
)

// FindUsers implements auth.UserStore.
func (d *DB) FindUsers(ctx context.Context, q userlist.Query) (auth.UserPage, error) {
	l, ok := d.newUserList(q)
	if !ok {
		return auth.UserPage{}, nil
	}
	if l.text != "" {
		// Best effort: what is pending is found in ASCII.
		_ = d.fillFew(ctx, searchText)
	}
	rows, err := l.run(ctx)
	if err != nil {
		return auth.UserPage{}, err
	}
	more := len(rows) > q.Limit
	if l.backward() && len(rows) < q.Limit {
		q.Before = "" // the first page, also for users who were added in the meantime
		return d.FindUsers(ctx, q)
	}
	rows = rows[:min(len(rows), q.Limit)]
	if l.backward() {
		slices.Reverse(rows)
	}
	page := auth.UserPage{Users: make([]auth.User, len(rows))}
	for i, r := range rows {
		page.Users[i] = r.user()
	}
	if len(rows) == 0 {
		return page, nil
	}
	if more || l.backward() {
		page.Next = l.cursor(rows[len(rows)-1])
	}
	if q.After != "" || more && l.backward() {
		page.Previous = l.cursor(rows[0])
	}
	return page, nil
}

// CountUsers implements auth.UserStore.
func (d *DB) CountUsers(ctx context.Context, q userlist.Query, atMost int) (n int, err error) {
	q.After, q.Before, q.Limit = "", "", 1
	l, ok := d.newUserList(q)
	if !ok {
		return 0, nil
	}
	query, args := l.countQuery(atMost)
	err = d.read(ctx, "count users", query, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &n, args...)
	})
	return n, err
}

// userList builds the statements of a list of users. Their texts depend only on which conditions there are, so that few
// are prepared.
type userList struct {
	db    *DB
	query userlist.Query
	// text is the folded text to search for, or "".
	text string
	// at and username are the place in the list that query.After or query.Before names.
	at, username string
}

// newUserList returns false for a query that no user matches.
func (d *DB) newUserList(q userlist.Query) (userList, bool) {
	cursor := q.After + q.Before
	if q.Limit < 1 || !isStorable(cursor) || !isStorable(q.Text) || !isStorable(q.Group) ||
		utf8.RuneCountInString(q.Text) > identifier.MaxSearch {
		return userList{}, false
	}
	l := userList{db: d, query: q, text: identifier.FoldSearch(q.Text), username: cursor}
	if q.Sort != userlist.ByUsername && cursor != "" {
		var found bool
		l.at, l.username, found = strings.Cut(cursor, cursorSeparator)
		// Postgres refuses a text that is not a time.
		if !found {
			return userList{}, false
		}
		if d.path == "" {
			// Postgres refuses a text that is not a time, and some that are times to Go.
			at, err := time.Parse(postgresTimeLayout, l.at)
			if err != nil || at.Year() < 1 {
				return userList{}, false
			}
			l.at = at.UTC().Format(postgresTimeLayout)
		}
	}
	return l, l.text != "" || q.Text == ""
}

const (
	// cursorSeparator separates the time that a list is sorted by from the username. It is in no time.
	cursorSeparator = "~"
	// postgresTimeLayout is the text of a timestamptz in UTC.
	postgresTimeLayout = "2006-01-02 15:04:05.999999-07"
)

// listRow is a user in a list.
type listRow struct {
	userRow
	// SortText is the time that the list is sorted by, as stored, or "".
	SortText string `db:"sort_text"`
}

// cursor returns the row's place in the list.
func (l userList) cursor(r listRow) string {
	if l.query.Sort == userlist.ByUsername {
		return r.Username
	}
	return r.SortText + cursorSeparator + r.Username
}

func (l userList) backward() bool { return l.query.Before != "" }

// descending reports the order in which rows are read. A previous page is read backward, from its end.
func (l userList) descending() bool { return l.query.Descending != l.backward() }

// sortTime returns the SQL of the time that the list is sorted by, or "".
func (l userList) sortTime() string {
	switch l.query.Sort {
	case userlist.ByCreation:
		return "created_at"
	case userlist.ByLastSignIn:
		return l.db.dialect.lastSignIn
	}
	return ""
}

// order returns an ORDER BY of a time, if there is one, and a username.
func (l userList) order(at, username string) string {
	direction := ""
	if l.descending() {
		direction = " DESC"
	}
	if at != "" {
		return " ORDER BY " + at + direction + ", " + username + direction
	}
	return " ORDER BY " + username + direction
}

// sqlText is a statement with its arguments.
type sqlText struct {
	strings.Builder
	args []any
}

// arg adds an argument and returns its placeholder.
func (s *sqlText) arg(v any) string {
	s.args = append(s.args, v)
	return "$" + strconv.Itoa(len(s.args))
}

// after returns the condition that a row comes after the place where the page begins.
func (l userList) after(s *sqlText) string {
	if l.query.After+l.query.Before == "" {
		return "true"
	}
	comparison := " > "
	if l.descending() {
		comparison = " < "
	}
	if value := l.sortTime(); value != "" {
		return "(" + value + ", username)" + comparison + "(" + s.arg(l.at) + ", " + s.arg(l.username) + ")"
	}
	return "username" + comparison + s.arg(l.username)
}

// filter returns the condition on state and group.
func (l userList) filter(s *sqlText) string {
	condition := "true"
	switch l.query.State {
	case userlist.Active:
		condition = "active"
	case userlist.Disabled:
		condition = "NOT active"
	case userlist.Unverified:
		condition = "email <> '' AND NOT email_verified"
	}
	if l.query.Group != "" {
		condition += " AND id IN (SELECT user_id FROM user_groups WHERE group_name = " + s.arg(l.query.Group) + ")"
	}
	return condition
}

// match returns the condition on the text.
func (l userList) match(s *sqlText) string {
	if l.db.path != "" {
		return "instr(folded, " + s.arg(l.text) + ") > 0"
	}
	if !hasTrigram(l.text) {
		// The index would be read as a whole, and then every row.
		return "strpos(folded, " + s.arg(l.text) + ") > 0"
	}
	return "folded LIKE " + s.arg(likePattern(l.text))
}

// searchWindow is how many users a search looks at in the order of the list, before it looks for all that match: a text
// that many users match fills a page from there.
const searchWindow = 2000

// listColumns are the columns of users for filters and order.
const listColumns = "id, username, created_at, last_sign_in_at, active, email, email_verified"

// listQuery returns the statement of one page and the first user of the next. In the window, it looks only at the first
// users of the list.
func (l userList) listQuery(window bool) (string, []any) {
	var s sqlText
	at, from := l.sortTime(), ""
	order := l.order(at, "username")
	switch {
	case l.text == "":
		from = "users WHERE " + l.after(&s) + " AND " + l.filter(&s)
	case window:
		from = "(SELECT " + listColumns + " FROM users WHERE " + l.after(&s) + order + " LIMIT " + strconv.Itoa(searchWindow) + ") first" +
			" JOIN user_search ON user_id = id WHERE " + l.match(&s) + " AND " + l.filter(&s)
	default:
		// MATERIALIZED in Postgres and CROSS JOIN in SQLite keep the planner from scanning all users in the order of the list.
		from = "(WITH found AS MATERIALIZED (SELECT user_id FROM user_search WHERE " + l.match(&s) + ")" +
			" SELECT " + listColumns + " FROM found CROSS JOIN users WHERE user_id = id) matching WHERE " + l.after(&s) + " AND " + l.filter(&s)
	}
	// The columns of the page keep the planner from scanning all users in its order, too.
	pageAt, text := "", "''"
	page := "id AS page_id, username AS page_username"
	if at != "" {
		pageAt, text = "page_at", "CAST(page_at AS text)"
		page += ", " + at + " AS page_at"
	}
	return "SELECT " + userSelect + ", " + text + " AS sort_text" +
		" FROM (SELECT " + page + " FROM " + from + order + " LIMIT " + s.arg(l.query.Limit+1) + ") page" +
		" JOIN users ON id = page_id" + l.order(pageAt, "page_username"), s.args
}

// countQuery returns the statement that counts the users of the list, up to atMost + 1.
func (l userList) countQuery(atMost int) (string, []any) {
	var s sqlText
	var from string
	switch {
	case l.text == "":
		from = "users WHERE " + l.filter(&s)
	case l.query.State == "" && l.query.Group == "":
		from = "user_search WHERE " + l.match(&s)
	default:
		from = "user_search JOIN users ON id = user_id WHERE " + l.match(&s) + " AND " + l.filter(&s)
	}
	return "SELECT count(*) FROM (SELECT 1 FROM " + from + " LIMIT " + s.arg(atMost+1) + ") counted", s.args
}

// run returns the rows of one page and the first of the next, in the order in which they are read.
func (l userList) run(ctx context.Context) ([]listRow, error) {
	if l.text != "" {
		rows, err := l.read(ctx, true)
		if err != nil || len(rows) > l.query.Limit {
			return rows, err
		}
	}
	return l.read(ctx, false)
}

func (l userList) read(ctx context.Context, window bool) (rows []listRow, err error) {
	query, args := l.listQuery(window)
	err = l.db.read(ctx, "find users", query, func(ctx context.Context, s *sqlx.Stmt) error {
		rows = nil
		return s.SelectContext(ctx, &rows, args...)
	})
	return rows, err
}

// likeEscapes escapes a text for use in a LIKE pattern.
var likeEscapes = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

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
