package db

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

// UsernameTaken implements auth.UserStore.
func (d *DB) UsernameTaken(ctx context.Context, username string) (bool, error) {
	if !isStorable(username) {
		return false, nil
	}
	if err := d.fillFewSkeletons(ctx); err != nil {
		return false, err
	}
	own, other := lookalikes(username)
	var taken bool
	err := d.read(ctx, "find look-alikes of a username", lookalikeExists, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &taken, own, other)
	})
	return taken, err
}

// lookalikeExists selects whether a user has one of two skeletons, of which one is that of the username.
const lookalikeExists = `SELECT EXISTS (SELECT 1 FROM user_skeletons WHERE skeleton IN ($1, $2))`

func lookalikes(username string) (own, other string) {
	all := identifier.Lookalikes(username)
	return all[0], all[len(all)-1]
}

// refuseLookalike returns auth.ErrUsernameTaken if an existing username looks like this one. Transactions for
// usernames that look alike are serialized, so that of several concurrent ones only one succeeds.
func (d *DB) refuseLookalike(ctx context.Context, tx *sqlx.Tx, username string) error {
	own, other := lookalikes(username)
	if d.path == "" {
		// "l" may stand for an i, so both use the same lock. A hash collision only costs a wait.
		h := fnv.New64a()
		_, _ = h.Write([]byte("user name " + strings.ReplaceAll(own, "i", "l")))
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(h.Sum64())); err != nil {
			return err
		}
	}
	var taken bool
	if err := tx.GetContext(ctx, &taken, lookalikeExists, own, other); err != nil {
		return err
	}
	if taken {
		return auth.ErrUsernameTaken
	}
	return nil
}

// setSkeleton stores the skeleton of a new user's name.
func setSkeleton(ctx context.Context, tx *sqlx.Tx, id, username string) error {
	_, err := tx.ExecContext(ctx, updateSkeleton, id, username, identifier.Skeleton(username))
	return err
}

// updateSkeleton does nothing if the user has been renamed in between.
const updateSkeleton = `UPDATE user_skeletons SET skeleton = $3 WHERE user_id = $1 AND username = $2`

// missingSkeleton is a user who was inserted or renamed by hand.
type missingSkeleton struct {
	UserID   string `db:"user_id"`
	Username string `db:"username"`
}

const (
	// skeletonBatch bounds the missing skeletons that one transaction, or a registration, computes.
	skeletonBatch = 200
	// skeletonInterval is the interval of FillSkeletons unless a registration wakes it.
	skeletonInterval = 10 * time.Second
	// skeletonRetryDelay is the pause of FillSkeletons after a failure.
	skeletonRetryDelay = time.Second
)

// skeletonFill coordinates the goroutines that compute missing skeletons.
type skeletonFill struct {
	// slot holds a token for the one such transaction of this process: others would wait for its row locks,
	// each with a connection of the pool.
	slot chan struct{}
	// wake ends the pause of FillSkeletons.
	wake chan struct{}
}

func newSkeletonFill() skeletonFill {
	return skeletonFill{slot: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// errManySkeletons means that a registration must wait until FillSkeletons has caught up.
var errManySkeletons = fmt.Errorf("many users were inserted or renamed by hand, and the skeletons of their names are still being computed: %w", auth.ErrUnavailable)

// fillFewSkeletons computes the missing skeletons before a registration. Usually there are none, which costs a
// look at an empty index. If there is more than one batch it computes none, wakes FillSkeletons and returns an
// error that wraps auth.ErrUnavailable.
func (d *DB) fillFewSkeletons(ctx context.Context) error {
	missing, err := d.countMissingSkeletons(ctx)
	if err != nil || missing == 0 {
		return err
	}
	if missing > skeletonBatch {
		select {
		case d.skeletons.wake <- struct{}{}:
		default: // already awake
		}
		return errManySkeletons
	}
	_, _, err = d.fillSkeletonBatch(ctx, d.dialect.lockRows, minUserID)
	return err
}

// countMissingSkeletons counts up to skeletonBatch + 1.
func (d *DB) countMissingSkeletons(ctx context.Context) (n int, err error) {
	const query = `SELECT count(*) FROM (SELECT 1 FROM user_skeletons WHERE skeleton IS NULL LIMIT $1) missing`
	err = d.read(ctx, "count missing skeletons", query, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &n, skeletonBatch+1)
	})
	return n, err
}

// minUserID is the lowest user id.
var minUserID = uuid.Nil.String()

// fillSkeletonBatch computes up to skeletonBatch missing skeletons of the user ids from first on, and returns
// how many rows it found and the last of their ids. lock is dialect.lockRows or skipLocked. Rows are locked
// in the order of their ids to avoid deadlocks.
func (d *DB) fillSkeletonBatch(ctx context.Context, lock, first string) (n int, last string, err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	const what = "store skeletons"
	select {
	case d.skeletons.slot <- struct{}{}:
		defer func() { <-d.skeletons.slot }()
	case <-ctx.Done():
		return 0, "", d.wrapError(ctx, ctx, what, ctx.Err())
	}
	query := `SELECT user_id, username FROM user_skeletons WHERE skeleton IS NULL AND user_id >= $1 ORDER BY user_id LIMIT $2` + lock
	err = d.transaction(ctx, what, query, nil, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
		var rows []missingSkeleton
		if err := tx.StmtxContext(ctx, s).SelectContext(ctx, &rows, first, skeletonBatch); err != nil || len(rows) == 0 {
			return err
		}
		if err := d.storeSkeletons(ctx, tx, rows); err != nil {
			return err
		}
		n, last = len(rows), rows[len(rows)-1].UserID
		return nil
	})
	return n, last, err
}

// storeSkeletons stores the skeletons of the rows with one statement: 200 would take longer than the time limit of the
// transaction on a busy machine, again and again.
func (d *DB) storeSkeletons(ctx context.Context, tx *sqlx.Tx, rows []missingSkeleton) error {
	values := make([]string, len(rows))
	args := make([]any, 0, 3*len(rows))
	for i, row := range rows {
		values[i] = fmt.Sprintf("($%d, $%d, $%d)", 3*i+1, 3*i+2, 3*i+3)
		args = append(args, row.UserID, row.Username, identifier.Skeleton(row.Username))
	}
	query := `WITH computed (user_id, username, skeleton) AS (VALUES ` + strings.Join(values, ", ") + `)
		UPDATE user_skeletons SET skeleton = computed.skeleton FROM computed
		WHERE user_skeletons.user_id = computed.user_id` + d.dialect.castUUID + ` AND user_skeletons.username = computed.username`
	_, err := tx.ExecContext(ctx, query, args...)
	return err
}

// fillSkeletons computes all missing skeletons. Each batch starts after the previous one, because index entries
// of rows that were just updated cost time until they are vacuumed.
func (d *DB) fillSkeletons(ctx context.Context, lock string) error {
	for first := minUserID; ; {
		n, last, err := d.fillSkeletonBatch(ctx, lock, first)
		if err != nil || n == 0 {
			return err
		}
		first = last
	}
}

// FillSkeletons computes the skeletons of users who were inserted or renamed by hand until ctx ends: every ten
// seconds, and when a registration finds more than it computes itself. It skips rows that another transaction
// has locked until the next time.
func (d *DB) FillSkeletons(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(skeletonInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := d.fillSkeletons(ctx, d.dialect.skipLocked); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "cannot compute the skeletons of usernames yet; retrying", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(skeletonRetryDelay):
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-d.skeletons.wake:
		}
	}
}
