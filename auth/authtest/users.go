package authtest

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/auth/userlist"
)

// Users is an auth.UserStore.
type Users struct {
	*CallLog
	rows map[string]auth.User
	// origins holds the ids of rows by source and external id.
	origins map[[2]string]string
	// RestoredBefore makes CreateUser treat a user who was updated before it as restored from a backup, as the
	// databases' triggers do.
	RestoredBefore time.Time
}

var (
	_ auth.UserStore   = (*Users)(nil)
	_ auth.OriginStore = (*Users)(nil)
)

// Put stores a row unchanged.
func (s *Users) Put(u auth.User) { s.rows[u.ID] = u }

// Delete deletes a row.
func (s *Users) Delete(id string) { delete(s.rows, id) }

// Len returns the number of users.
func (s *Users) Len() int { return len(s.rows) }

// Row returns the row of an id.
func (s *Users) Row(id string) auth.User { return s.rows[id] }

// CreateUser implements auth.UserStore.
func (s *Users) CreateUser(ctx context.Context, u auth.User) (auth.User, error) {
	if err := s.LogCall(ctx, "users.CreateUser", u.Username); err != nil {
		return auth.User{}, err
	}
	for _, other := range s.rows {
		if other.Username == u.Username {
			return auth.User{}, auth.ErrUsernameTaken
		}
		if u.EmailVerified && other.EmailVerified && other.Email == u.Email {
			return auth.User{}, auth.ErrEmailTaken
		}
	}
	if u.UpdatedAt.Before(s.RestoredBefore) {
		nextEpoch(&u)
		u.PreviousEpoch = 0
	}
	s.rows[u.ID] = u
	return u, nil
}

// RegisterUser implements auth.UserStore.
func (s *Users) RegisterUser(ctx context.Context, u auth.User) (auth.User, error) {
	if s.looksLike(u.Username) {
		return auth.User{}, auth.ErrUsernameTaken
	}
	return s.CreateUser(ctx, u)
}

// UsernameTaken implements auth.UserStore.
func (s *Users) UsernameTaken(ctx context.Context, name string) (bool, error) {
	if err := s.LogCall(ctx, "users.UsernameTaken", name); err != nil {
		return false, err
	}
	return s.looksLike(name), nil
}

func (s *Users) looksLike(name string) bool {
	for _, u := range s.rows {
		if slices.Contains(identifier.Lookalikes(name), identifier.Skeleton(u.Username)) {
			return true
		}
	}
	return false
}

// UserByOrigin implements auth.OriginStore.
func (s *Users) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	if err := s.LogCall(ctx, "users.UserByOrigin", source+" "+externalID); err != nil {
		return auth.User{}, err
	}
	id, known := s.origins[[2]string{source, externalID}]
	return s.find(func(u auth.User) bool { return known && u.ID == id })
}

// ImportUser implements auth.OriginStore.
func (s *Users) ImportUser(ctx context.Context, u auth.User, source, externalID string) error {
	origin := [2]string{source, externalID}
	if _, known := s.origins[origin]; known {
		return auth.ErrAlreadyImported
	}
	if _, err := s.CreateUser(ctx, u); err != nil {
		return err
	}
	if s.origins == nil {
		s.origins = map[[2]string]string{}
	}
	s.origins[origin] = u.ID
	return nil
}

func (s *Users) find(match func(auth.User) bool) (auth.User, error) {
	for _, u := range s.rows {
		if match(u) {
			return u, nil
		}
	}
	return auth.User{}, auth.ErrNotFound
}

// UserByID implements auth.UserStore.
func (s *Users) UserByID(ctx context.Context, id string) (auth.User, error) {
	if err := s.LogCall(ctx, "users.UserByID", id); err != nil {
		return auth.User{}, err
	}
	return s.find(func(u auth.User) bool { return u.ID == id })
}

// UserByUsername implements auth.UserStore.
func (s *Users) UserByUsername(ctx context.Context, name string) (auth.User, error) {
	if err := s.LogCall(ctx, "users.UserByUsername", name); err != nil {
		return auth.User{}, err
	}
	return s.find(func(u auth.User) bool { return u.Username == name })
}

// UserByEmail implements auth.UserStore.
func (s *Users) UserByEmail(ctx context.Context, email string) (auth.User, error) {
	if err := s.LogCall(ctx, "users.UserByEmail", email); err != nil {
		return auth.User{}, err
	}
	return s.find(func(u auth.User) bool { return u.EmailVerified && u.Email == email })
}

// Users implements auth.UserStore.
func (s *Users) Users(ctx context.Context, after string, limit int) ([]auth.User, error) {
	if err := s.LogCall(ctx, "users.Users"); err != nil {
		return nil, err
	}
	var all []auth.User
	for _, u := range s.rows {
		if u.Username > after {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b auth.User) int { return strings.Compare(a.Username, b.Username) })
	return all[:min(limit, len(all))], nil
}

// FindUsers implements auth.UserStore.
func (s *Users) FindUsers(ctx context.Context, q userlist.Query) (auth.UserPage, error) {
	if err := s.LogCall(ctx, "users.FindUsers", q.Text, q.After+q.Before); err != nil {
		return auth.UserPage{}, err
	}
	all := s.matching(q)
	slices.SortFunc(all, func(a, b auth.User) int {
		order := strings.Compare(cursor(q, a), cursor(q, b))
		if q.Descending {
			return -order
		}
		return order
	})
	first := 0
	for _, u := range all {
		place := cursor(q, u)
		if q.After != "" && (place == q.After || place < q.After != q.Descending) || q.Before != "" && place != q.Before && place < q.Before != q.Descending {
			first++
		}
	}
	if q.Before != "" {
		first = max(first-q.Limit, 0)
	}
	page := auth.UserPage{Users: all[min(first, len(all)):min(first+q.Limit, len(all))]}
	if n := len(page.Users); n > 0 && first > 0 {
		page.Previous = cursor(q, page.Users[0])
	}
	if n := len(page.Users); first+n < len(all) && n > 0 {
		page.Next = cursor(q, page.Users[n-1])
	}
	return page, nil
}

// CountUsers implements auth.UserStore.
func (s *Users) CountUsers(ctx context.Context, q userlist.Query, atMost int) (int, error) {
	if err := s.LogCall(ctx, "users.CountUsers", q.Text); err != nil {
		return 0, err
	}
	return min(len(s.matching(q)), atMost+1), nil
}

func (s *Users) matching(q userlist.Query) (all []auth.User) {
	for _, u := range s.rows {
		matches := strings.Contains(identifier.FoldSearch(u.Username+"\n"+u.Name+"\n"+u.Email), identifier.FoldSearch(q.Text))
		switch q.State {
		case userlist.Active:
			matches = matches && u.Active
		case userlist.Disabled:
			matches = matches && !u.Active
		case userlist.Unverified:
			matches = matches && u.Email != "" && !u.EmailVerified
		}
		if matches && (q.Group == "" || slices.Contains(u.Groups, q.Group)) {
			all = append(all, u)
		}
	}
	return all
}

// cursor returns the user's place in a list, in a form whose order is that of the list.
func cursor(q userlist.Query, u auth.User) string {
	const layout = "2006-01-02T15:04:05.000000000Z"
	switch q.Sort {
	case userlist.ByCreation:
		return u.CreatedAt.UTC().Format(layout) + "~" + u.Username
	case userlist.ByLastSignIn:
		return u.LastSignInAt.UTC().Format(layout) + "~" + u.Username
	}
	return u.Username
}

// update changes a row and returns the changed one.
func (s *Users) update(ctx context.Context, call, id string, change func(*auth.User) error) (auth.User, error) {
	if err := s.LogCall(ctx, call, id); err != nil {
		return auth.User{}, err
	}
	u, ok := s.rows[id]
	if !ok {
		return auth.User{}, auth.ErrNotFound
	}
	if err := change(&u); err != nil {
		return auth.User{}, err
	}
	changed := u
	u.PreviousEpoch = 0
	s.rows[id] = u
	return changed, nil
}

// nextEpoch replaces the epoch by another one, which can be lower.
func nextEpoch(u *auth.User) {
	u.PreviousEpoch = u.Epoch
	u.Epoch = 1 + (u.Epoch+1_000_000_007)%2_000_000_011
}

// SetPassword implements auth.UserStore.
func (s *Users) SetPassword(ctx context.Context, id string, epoch int64, hash string) (auth.User, error) {
	return s.update(ctx, "users.SetPassword", id, func(u *auth.User) error {
		if u.Epoch != epoch {
			return auth.ErrStale
		}
		u.PasswordHash = hash
		nextEpoch(u)
		return nil
	})
}

// ReplaceHash implements auth.UserStore.
func (s *Users) ReplaceHash(ctx context.Context, id, old, new string) error {
	_, err := s.update(ctx, "users.ReplaceHash", id, func(u *auth.User) error {
		if u.PasswordHash == old {
			u.PasswordHash = new
		}
		return nil
	})
	return err
}

// SetProfile implements auth.UserStore.
func (s *Users) SetProfile(ctx context.Context, id string, from, p auth.Profile) (auth.User, error) {
	return s.update(ctx, "users.SetProfile", id, func(u *auth.User) error {
		if from != (auth.Profile{Name: u.Name, Email: u.Email, TimeZone: u.TimeZone}) {
			return auth.ErrStale
		}
		u.EmailVerified = u.EmailVerified && u.Email == p.Email
		u.TimeZoneChosen = u.TimeZoneChosen || u.TimeZone != p.TimeZone
		u.Name, u.Email, u.TimeZone = p.Name, p.Email, p.TimeZone
		return nil
	})
}

// SetPreferences implements auth.UserStore.
func (s *Users) SetPreferences(ctx context.Context, id string, e auth.PreferencesEdit) (auth.User, error) {
	return s.update(ctx, "users.SetPreferences", id, func(u *auth.User) error {
		for value, edit := range map[*string]*string{&u.Theme: e.Theme, &u.HourCycle: e.HourCycle, &u.Locale: e.Locale} {
			if edit != nil {
				*value = *edit
			}
		}
		return nil
	})
}

// SetActive implements auth.UserStore.
func (s *Users) SetActive(ctx context.Context, id string, active bool) (auth.User, error) {
	return s.update(ctx, "users.SetActive", id, func(u *auth.User) error {
		if u.Active && !active {
			nextEpoch(u)
			u.PreviousEpoch = 0
		}
		u.Active = active
		return nil
	})
}

// VerifyEmail implements auth.UserStore.
func (s *Users) VerifyEmail(ctx context.Context, id, email string) (auth.User, error) {
	return s.update(ctx, "users.VerifyEmail", id, func(u *auth.User) error {
		if u.Email != email || email == "" {
			return auth.ErrStale
		}
		if other, err := s.find(func(o auth.User) bool { return o.EmailVerified && o.Email == email }); err == nil && other.ID != id {
			return auth.ErrEmailTaken
		}
		u.EmailVerified = true
		return nil
	})
}

// DeleteUser implements auth.UserStore.
func (s *Users) DeleteUser(ctx context.Context, id string) (auth.User, error) {
	u, err := s.update(ctx, "users.DeleteUser", id, func(u *auth.User) error {
		if u.Active {
			return auth.ErrStale
		}
		return nil
	})
	if err == nil {
		s.Delete(id)
	}
	return u, err
}

// RotateEpoch implements auth.UserStore.
func (s *Users) RotateEpoch(ctx context.Context, id string) (auth.User, error) {
	return s.update(ctx, "users.RotateEpoch", id, func(u *auth.User) error {
		nextEpoch(u)
		return nil
	})
}

// RotateEpochFrom implements auth.UserStore.
func (s *Users) RotateEpochFrom(ctx context.Context, id string, epoch int64) (auth.User, error) {
	return s.update(ctx, "users.RotateEpoch", id, func(u *auth.User) error {
		if u.Epoch != epoch {
			return auth.ErrStale
		}
		nextEpoch(u)
		return nil
	})
}

// RecordSignIn implements auth.UserStore.
func (s *Users) RecordSignIn(ctx context.Context, id string, at time.Time) error {
	_, err := s.update(ctx, "users.RecordSignIn", id, func(u *auth.User) error {
		u.LastSignInAt = at
		return nil
	})
	return err
}

// RecordFirstTimeZone implements auth.UserStore.
func (s *Users) RecordFirstTimeZone(ctx context.Context, id, zone string, at time.Time) (auth.User, error) {
	return s.update(ctx, "users.RecordFirstTimeZone", id, func(u *auth.User) error {
		if u.TimeZone != "UTC" || u.TimeZoneChosen {
			return auth.ErrStale
		}
		u.TimeZone, u.LastSignInAt = zone, at
		return nil
	})
}

// Cache is an auth.UserCache.
type Cache struct {
	*CallLog
	users  map[string]auth.User
	leases map[string]string
	// bypassed holds the users whose drop failed; "" stands for all.
	bypassed map[string]bool
}

var _ auth.UserCache = (*Cache)(nil)

// User implements auth.UserCache.
func (c *Cache) User(ctx context.Context, id string) (auth.User, string, error) {
	if err := c.LogCall(ctx, "cache.User", id); err != nil {
		return auth.User{}, "", err
	}
	if c.bypassed[id] || c.bypassed[""] {
		return auth.User{}, "", auth.ErrNotFound
	}
	if u, ok := c.users[id]; ok {
		return u, "", nil
	}
	if c.leases[id] != "" {
		return auth.User{}, "", auth.ErrNotFound // another request is filling already
	}
	c.leases[id] = "lease of " + id
	return auth.User{}, c.leases[id], auth.ErrNotFound
}

// Fill implements auth.UserCache.
func (c *Cache) Fill(ctx context.Context, u auth.User, lease string) error {
	if err := c.LogCall(ctx, "cache.Fill", u.ID); err != nil {
		return err
	}
	if lease != "" && c.leases[u.ID] == lease {
		u.PasswordHash = ""
		c.users[u.ID] = u
		delete(c.leases, u.ID)
	}
	return nil
}

// SharedLease implements auth.UserCache.
func (c *Cache) SharedLease(ctx context.Context, id string) (string, error) {
	if err := c.LogCall(ctx, "cache.SharedLease", id); err != nil {
		return "", err
	}
	return c.leases[id], nil
}

// FillDeleted implements auth.UserCache. It leaves nothing that User finds.
func (c *Cache) FillDeleted(ctx context.Context, id, lease string) error {
	if err := c.LogCall(ctx, "cache.FillDeleted", id); err != nil {
		return err
	}
	if lease != "" && c.leases[id] == lease {
		delete(c.leases, id)
	}
	return nil
}

// Invalidate implements auth.UserCache. It is not recorded, and drops immediately instead of in the background; a failed
// drop is completed by the next Drop.
func (c *Cache) Invalidate(id string) {
	if c.fails("cache.Drop") {
		c.bypassed[id] = true
		return
	}
	delete(c.users, id)
	delete(c.leases, id)
	delete(c.bypassed, id)
}

// InvalidateAll implements auth.UserCache.
func (c *Cache) InvalidateAll() {
	if c.fails("cache.DropAll") {
		c.bypassed[""] = true
		return
	}
	clear(c.users)
	clear(c.leases)
	clear(c.bypassed)
}

// Drop implements auth.UserCache.
func (c *Cache) Drop(ctx context.Context, id string) error {
	if err := c.LogCall(ctx, "cache.Drop", id); err != nil {
		c.bypassed[id] = true
		return err
	}
	delete(c.users, id)
	delete(c.leases, id)
	delete(c.bypassed, id)
	return nil
}

// DropAll implements auth.UserCache.
func (c *Cache) DropAll(ctx context.Context) error {
	if err := c.LogCall(ctx, "cache.DropAll"); err != nil {
		c.bypassed[""] = true
		return err
	}
	clear(c.users)
	clear(c.leases)
	clear(c.bypassed)
	return nil
}

// Has reports whether the user is cached.
func (c *Cache) Has(id string) bool {
	_, ok := c.users[id]
	return ok
}
