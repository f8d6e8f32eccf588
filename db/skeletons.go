package db

import (
	"context"
	"hash/fnv"
	"strings"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

// UsernameTaken implements auth.UserStore.
func (d *DB) UsernameTaken(ctx context.Context, username string) (bool, error) {
	if !isStorable(username) {
		return false, nil
	}
	if err := d.fillFew(ctx, skeletonText); err != nil {
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
	_, err := tx.ExecContext(ctx, `UPDATE user_skeletons SET skeleton = $3 WHERE user_id = $1 AND username = $2`, id, username, identifier.Skeleton(username))
	return err
}
