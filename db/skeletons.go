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
	err := d.read(ctx, "look for a user name", lookalikeExists, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &taken, own, other)
	})
	return taken, err
}

// lookalikeExists reports whether a user has one of two skeletons. A user name has its own among them.
const lookalikeExists = `SELECT EXISTS (SELECT 1 FROM user_skeletons WHERE skeleton IN ($1, $2))`

func lookalikes(username string) (own, other string) {
	all := identifier.Lookalikes(username)
	return all[0], all[len(all)-1]
}

// refuseLookalike returns auth.ErrUsernameTaken when a user has a name that looks like this one. Transactions
// for names that look alike run one after the other, so that of several at once one succeeds.
func (d *DB) refuseLookalike(ctx context.Context, tx *sqlx.Tx, username string) error {
	own, other := lookalikes(username)
	if d.path == "" {
		// What "l" stands for may be an i, so that both wait for each other. A collision of hashes costs a wait.
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

// setSkeleton stores the skeleton of a new user.
func setSkeleton(ctx context.Context, tx *sqlx.Tx, id, username string) error {
	_, err := tx.ExecContext(ctx, updateSkeleton, id, username, identifier.Skeleton(username))
	return err
}

// updateSkeleton leaves a row alone that was renamed in between.
const updateSkeleton = `UPDATE user_skeletons SET skeleton = $3 WHERE user_id = $1 AND username = $2`

// missingSkeleton is a row that was inserted or renamed by hand.
type missingSkeleton struct {
	UserID   string `db:"user_id"`
	Username string `db:"username"`
}

const (
	// skeletonBatch is how many missing skeletons one transaction computes, and a registration at most.
	skeletonBatch = 200
	// skeletonInterval is how often FillSkeletons looks for missing ones when no registration has found any.
	skeletonInterval = 10 * time.Second
	// skeletonPause is how long FillSkeletons rests after a failure.
	skeletonRetryDelay = time.Second
)

// skeletonFill is what fills in missing skeletons share.
type skeletonFill struct {
	// turn holds a token for the one transaction of this process: others would wait for its row locks, each
	// with a connection of the pool.
	slot chan struct{}
	// wanted wakes FillSkeletons.
	wake chan struct{}
}

func newSkeletonFill() skeletonFill {
	return skeletonFill{slot: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// errManySkeletons says that a registration has to wait until FillSkeletons has caught up.
var errManySkeletons = fmt.Errorf("many users were inserted or renamed by hand, and the server is still computing what their names look like: %w", auth.ErrUnavailable)

// fillFewSkeletons computes the skeletons that are missing before a registration: most often none, which costs
// a look at an empty index. Of more than one batch it computes none, wakes FillSkeletons and returns an error that
// wraps auth.ErrUnavailable.
func (d *DB) fillFewSkeletons(ctx context.Context) error {
	missing, err := d.countMissingSkeletons(ctx)
	if err != nil || missing == 0 {
		return err
	}
	if missing > skeletonBatch {
		select {
		case d.skeletons.wake <- struct{}{}:
		default: // it is awake
		}
		return errManySkeletons
	}
	_, _, err = d.fillSkeletonBatch(ctx, d.dialect.lockRows, firstSkeleton)
	return err
}

// countMissingSkeletons counts no further than skeletonBatch + 1.
func (d *DB) countMissingSkeletons(ctx context.Context) (n int, err error) {
	const query = `SELECT count(*) FROM (SELECT 1 FROM user_skeletons WHERE skeleton IS NULL LIMIT $1) missing`
	err = d.read(ctx, "look for missing skeletons", query, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &n, skeletonBatch+1)
	})
	return n, err
}

// firstSkeleton is the lowest user id.
var firstSkeleton = uuid.Nil.String()

// fillSkeletonBatch computes at most skeletonBatch missing skeletons of the user ids from first on, and returns
// how many rows it found and the last of their ids. lock says what to do about rows that another transaction has locked. Rows
// are locked in the order of their ids, so that no two transactions wait for each other.
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
		update, err := tx.PreparexContext(ctx, updateSkeleton)
		if err != nil {
			return err
		}
		defer update.Close()
		for _, row := range rows {
			if _, err := update.ExecContext(ctx, row.UserID, row.Username, identifier.Skeleton(row.Username)); err != nil {
				return err
			}
		}
		n, last = len(rows), rows[len(rows)-1].UserID
		return nil
	})
	return n, last, err
}

// fillSkeletons computes all missing skeletons. It goes on behind the last batch: index entries of rows that
// were just filled in cost time until they are vacuumed.
func (d *DB) fillSkeletons(ctx context.Context, lock string) error {
	for first := firstSkeleton; ; {
		n, last, err := d.fillSkeletonBatch(ctx, lock, first)
		if err != nil || n == 0 {
			return err
		}
		first = last
	}
}

// FillSkeletons computes the skeletons of users who were inserted or renamed by hand until ctx ends: when a
// registration finds more than it computes itself, and every ten seconds. Rows that another transaction has locked are
// left for the next time.
func (d *DB) FillSkeletons(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(skeletonInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := d.fillSkeletons(ctx, d.dialect.skipLocked); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "what user names look like is not computed yet; trying again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(skeletonRetryDelay):
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-d.skeletons.wake:
		}
	}
}
