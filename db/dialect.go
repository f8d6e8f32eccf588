package db

import (
	"database/sql"

	"github.com/pressly/goose/v3"
)

// dialect holds what differs between the two databases.
type dialect struct {
	name  string
	goose goose.Dialect
	// migrations is the directory in migrations.FS.
	migrations string
	// hasTable selects whether the table $1 exists.
	hasTable string
	// administratorTxOptions are for transactionKeepingAdministrator; nil for SQLite, whose writers are
	// serialized anyway.
	administratorTxOptions *sql.TxOptions
	// lockGroup selects the group $1 and locks it until the transaction ends: it waits for transactions
	// that add members, and blocks new ones.
	lockGroup string
	// lockRows is the end of a SELECT that locks its rows until the transaction ends; skipLocked of one that
	// also skips rows locked by others. Both are empty for SQLite, which has a single writer.
	lockRows, skipLocked string
	// castUUID is the end of an expression that turns a text into the type of ids.
	castUUID string
	// search selects at most $3 users after the username $1 whose username, name or email contains the text
	// $2, which is a LIKE pattern in Postgres. searchFirst looks only at the first users, and searchShort
	// does not use the trigram index; both are empty for SQLite.
	search, searchFirst, searchShort string
}

// searchQuery returns the SELECT of the users whose ids the subquery returns. There, (SELECT lower($2))
// folds the text once instead of per row.
func searchQuery(ids string) string {
	return `SELECT ` + userSelect + ` FROM users WHERE id IN (` + ids + `) ORDER BY username`
}
