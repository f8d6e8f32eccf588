package db

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

// UsernameTaken implements auth.UserStore.
func (d *DB) UsernameTaken(ctx context.Context, username string) (bool, error) {
	if !isText(username) {
		return false, nil
	}
	if err := d.fillSkeletons(ctx); err != nil {
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
	all := auth.Lookalikes(username)
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
	_, err := tx.ExecContext(ctx, updateSkeleton, id, username, auth.Skeleton(username))
	return err
}

// updateSkeleton leaves a row alone that was renamed in between.
const updateSkeleton = `UPDATE user_skeletons SET skeleton = $3 WHERE user_id = $1 AND username = $2`

// missingSkeleton is a row that was inserted or renamed by hand.
type missingSkeleton struct {
	UserID   string `db:"user_id"`
	Username string `db:"username"`
}

// fillSkeletons computes the skeletons that are missing: most often none, which costs a look at an empty index.
func (d *DB) fillSkeletons(ctx context.Context) error {
	const what, missing = "look for missing skeletons", `SELECT user_id, username FROM user_skeletons WHERE skeleton IS NULL LIMIT 200`
	for {
		var rows []missingSkeleton
		err := d.read(ctx, what, missing, func(ctx context.Context, s *sqlx.Stmt) error {
			rows = nil
			return s.SelectContext(ctx, &rows)
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		err = d.write(ctx, "store skeletons", updateSkeleton, func(ctx context.Context, s *sqlx.Stmt) error {
			for _, row := range rows {
				if _, err := s.ExecContext(ctx, row.UserID, row.Username, auth.Skeleton(row.Username)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("compute what user names look like: %w", err)
		}
	}
}
