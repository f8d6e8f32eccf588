package cli

import (
	"context"
	"errors"

	"gatehouse/auth"
)

// dryRun is an auth.OriginStore that stores nothing and responds as if it had.
type dryRun struct {
	auth.OriginStore
	users auth.UserStore
	// taken holds the names and verified addresses of this run, as "name NAME" and "address ADDRESS".
	taken map[string]bool
	// imported holds the users of this run by source and ID.
	imported map[[2]string]auth.User
}

func (d *dryRun) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	if u, ok := d.imported[[2]string{source, externalID}]; ok {
		return u, nil
	}
	return d.OriginStore.UserByOrigin(ctx, source, externalID)
}

func (d *dryRun) ImportUser(ctx context.Context, u auth.User, source, externalID string) error {
	if _, err := d.users.UserByUsername(ctx, u.Username); err == nil || d.taken["name "+u.Username] {
		return auth.ErrUsernameTaken
	} else if !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	if u.EmailVerified {
		if _, err := d.users.UserByEmail(ctx, u.Email); err == nil || d.taken["address "+u.Email] {
			return auth.ErrEmailTaken
		} else if !errors.Is(err, auth.ErrNotFound) {
			return err
		}
		d.taken["address "+u.Email] = true
	}
	d.taken["name "+u.Username] = true
	d.imported[[2]string{source, externalID}] = u
	return nil
}
