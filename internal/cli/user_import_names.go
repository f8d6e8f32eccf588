package cli

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/importer"
)

// claims are the names that rows claim: the ID of the first such row, and whether rows with other IDs claim it too.
type claims map[string]struct {
	id     string
	shared bool
}

// add records that the row with the ID claims the name. Rows with the same ID are the same user.
func (c claims) add(name, id string) {
	claim, known := c[name]
	if !known {
		claim.id = id
	}
	claim.shared = claim.shared || claim.id != id
	c[name] = claim
}

// claimNames records the names that a row with an address claims, even if the row is refused: it claims them again once
// it is corrected.
func (r *importRun) claimNames(row importer.Row) {
	if short, err := identifier.CanonicalUsername(row.Username); err == nil {
		r.short.add(short, row.ID)
	}
	if full, err := identifier.UsernameFromEmail(row.Address); err == nil {
		r.full.add(full, row.ID)
	}
}

// importFromAddresses imports the rows whose user name is made from an address.
func (r *importRun) importFromAddresses(ctx context.Context) error {
	r.bar.startRows(len(r.fromAddresses))
	for _, row := range r.fromAddresses {
		r.bar.row()
		whole := false
		err := r.importNamed(ctx, row, func(ctx context.Context) (name string, err error) {
			name, whole, err = r.nameFromAddress(ctx, row)
			return name, err
		}, func() {
			if whole {
				r.named++
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nameFromAddress returns the user name of a row without one: the part of its address before the @ if that is available,
// otherwise the name made from the whole address. The result depends on which rows there are, not on their order, so that
// no row gets the name made from the address of another one. The error is auth.ValidationErrors if there is no such name.
func (r *importRun) nameFromAddress(ctx context.Context, row importer.Row) (name string, whole bool, err error) {
	short, err := identifier.CanonicalUsername(row.Username)
	if err != nil {
		return row.Username, false, nil // ImportUser refuses it and says why
	}
	_, claimed := r.full[short]
	if !claimed && !r.short[short].shared && !identifier.IsReserved(short) {
		available, err := r.isAvailable(ctx, short)
		if err != nil {
			return "", false, fmt.Errorf("check whether a user name is available: %w", err)
		}
		if available {
			return short, false, nil
		}
	}
	full, err := identifier.UsernameFromEmail(row.Address)
	if err != nil {
		return "", false, auth.ValidationErrors{"username": "The part of the address before the @ is reserved, taken or not unique, and the whole address is not a valid user name: " + err.Error()}
	}
	if r.full[full].shared {
		return "", false, auth.ValidationErrors{"username": "Another row has the same address, or one that gives the same user name. Keep one of them."}
	}
	return full, true, nil
}

func (r *importRun) isAvailable(ctx context.Context, name string) (bool, error) {
	if dry, ok := r.origins.(*dryRun); ok && dry.taken["name "+name] {
		return false, nil
	}
	_, err := r.accounts.UserByUsername(ctx, name)
	if errors.Is(err, auth.ErrNotFound) {
		return true, nil
	}
	return false, err
}
