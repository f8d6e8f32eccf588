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
	// lastSignIn is the time of the last sign-in of a user, or the lowest time for one who never signed in. It is the
	// expression of an index.
	lastSignIn string
}
