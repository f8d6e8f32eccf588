package db

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

// computedText is a text for each user that SQL cannot compute. Gatehouse computes it for rows that were inserted or
// changed by hand.
type computedText struct {
	what string
	// table has a row for each user, whose source is the column that the text is computed from.
	table, source string
	// missing is the condition of rows without the text.
	missing string
	// set stores the text of the row of the same user in the table computed.
	set     string
	compute func(source string) string
}

var (
	skeletonText = computedText{
		what: "skeletons", table: "user_skeletons", source: "username", missing: "skeleton IS NULL",
		set: "skeleton = computed.result", compute: identifier.Skeleton,
	}
	searchText = computedText{
		what: "search texts", table: "user_search", source: "folded", missing: "pending",
		set: "folded = computed.result, pending = false", compute: identifier.FoldSearch,
	}
)

// missingText is a row of a computedText without the text.
type missingText struct {
	UserID string `db:"user_id"`
	Source string `db:"source"`
}

const (
	// computeBatch bounds the missing texts that one transaction, a registration or a search computes.
	computeBatch = 200
	// computeInterval is the interval of FillComputed unless a request wakes it.
	computeInterval = 10 * time.Second
	// computeRetryDelay is the pause of FillComputed after a failure.
	computeRetryDelay = time.Second
)

// computedFill coordinates the goroutines that compute missing texts.
type computedFill struct {
	// slot holds a token for the one such transaction of this process: others would wait for its row locks,
	// each with a connection of the pool.
	slot chan struct{}
	// wake ends the pause of FillComputed.
	wake chan struct{}
}

func newComputedFill() computedFill {
	return computedFill{slot: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// errManyMissing means that a request must wait until FillComputed has caught up.
var errManyMissing = fmt.Errorf("many users were inserted or changed by hand, and what is computed from their names is not ready: %w", auth.ErrUnavailable)

// fillFew computes the missing texts before a request that needs them. Usually there are none, which costs a
// look at an empty index. If there is more than one batch it computes none, wakes FillComputed and returns
// errManyMissing.
func (d *DB) fillFew(ctx context.Context, c computedText) error {
	missing, err := d.countMissing(ctx, c)
	if err != nil || missing == 0 {
		return err
	}
	if missing > computeBatch {
		select {
		case d.computed.wake <- struct{}{}:
		default: // already awake
		}
		return errManyMissing
	}
	_, _, err = d.fillBatch(ctx, c, d.dialect.lockRows, minUserID)
	return err
}

// countMissing counts up to computeBatch + 1.
func (d *DB) countMissing(ctx context.Context, c computedText) (n int, err error) {
	query := `SELECT count(*) FROM (SELECT 1 FROM ` + c.table + ` WHERE ` + c.missing + ` LIMIT $1) missing`
	err = d.read(ctx, "count missing "+c.what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &n, computeBatch+1)
	})
	return n, err
}

// minUserID is the lowest user id.
var minUserID = uuid.Nil.String()

// fillBatch computes up to computeBatch missing texts of the user ids from first on, and returns
// how many rows it found and the last of their ids. lock is dialect.lockRows or skipLocked. Rows are locked
// in the order of their ids to avoid deadlocks.
func (d *DB) fillBatch(ctx context.Context, c computedText, lock, first string) (n int, last string, err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	what := "store " + c.what
	select {
	case d.computed.slot <- struct{}{}:
		defer func() { <-d.computed.slot }()
	case <-ctx.Done():
		return 0, "", d.wrapError(ctx, ctx, what, ctx.Err())
	}
	query := `SELECT user_id, ` + c.source + ` AS source FROM ` + c.table + ` WHERE ` + c.missing +
		` AND user_id >= $1 ORDER BY user_id LIMIT $2` + lock
	err = d.transaction(ctx, what, query, nil, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
		var rows []missingText
		if err := tx.StmtxContext(ctx, s).SelectContext(ctx, &rows, first, computeBatch); err != nil || len(rows) == 0 {
			return err
		}
		if err := d.storeComputed(ctx, tx, c, rows); err != nil {
			return err
		}
		n, last = len(rows), rows[len(rows)-1].UserID
		return nil
	})
	return n, last, err
}

// storeComputed stores the texts of the rows with one statement: 200 would take longer than the time limit of the
// transaction on a busy machine, again and again. It leaves out rows whose source has changed in between.
func (d *DB) storeComputed(ctx context.Context, tx *sqlx.Tx, c computedText, rows []missingText) error {
	values := make([]string, len(rows))
	args := make([]any, 0, 3*len(rows))
	for i, row := range rows {
		values[i] = fmt.Sprintf("($%d, $%d, $%d)", 3*i+1, 3*i+2, 3*i+3)
		args = append(args, row.UserID, row.Source, c.compute(row.Source))
	}
	_, err := tx.ExecContext(ctx, `WITH computed (id, source, result) AS (VALUES `+strings.Join(values, ", ")+`)
		UPDATE `+c.table+` SET `+c.set+` FROM computed
		WHERE user_id = computed.id`+d.dialect.castUUID+` AND `+c.table+`.`+c.source+` = computed.source`, args...)
	return err
}

// fillComputed computes all missing texts. Each batch starts after the previous one, because index entries
// of rows that were just updated cost time until they are vacuumed.
func (d *DB) fillComputed(ctx context.Context, lock string) error {
	for _, c := range []computedText{skeletonText, searchText} {
		for first := minUserID; ; {
			n, last, err := d.fillBatch(ctx, c, lock, first)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			first = last
		}
	}
	return nil
}

// FillComputed computes what is missing about users who were inserted or changed by hand until ctx ends: every ten
// seconds, and when a request finds more than it computes itself. It skips rows that another transaction
// has locked until the next time.
func (d *DB) FillComputed(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(computeInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := d.fillComputed(ctx, d.dialect.skipLocked); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "cannot compute the skeletons and search texts of users yet; retrying", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(computeRetryDelay):
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-d.computed.wake:
		}
	}
}
