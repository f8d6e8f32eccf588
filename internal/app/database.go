package app

import (
	"context"
	"fmt"

	"gatehouse/db"
	"gatehouse/internal/config"
)

// OpenDatabase connects to the users' database, which may be the embedded one.
func OpenDatabase(ctx context.Context, c config.Config) (*db.DB, error) {
	if c.DatabaseURL == "" {
		if err := c.MakeDataDir(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	d, err := db.Open(ctx, c.ResolveDatabaseURL(), db.ListenURL(c.DatabaseListenURL))
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return d, nil
}

// openDatabase opens the database and migrates it, or returns an error if its schema is out of date.
func (s *Stores) openDatabase(ctx context.Context, c config.Config, migrate bool) error {
	d, err := OpenDatabase(ctx, c)
	if err != nil {
		return err
	}
	s.database = d
	s.closers = append(s.closers, d.Close)
	if migrate {
		if err := RetryTimeouts(ctx, func() error { return d.Migrate(ctx) }); err != nil {
			return fmt.Errorf("DATABASE_URL: %w", err)
		}
		return nil
	}
	var current, want int64
	err = RetryTimeouts(ctx, func() (err error) {
		current, want, err = d.SchemaVersions(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	if current < want {
		return fmt.Errorf("the database schema is at version %d and this program needs %d: run `%s migrate up`, or serve with --migrate", current, want, config.Program())
	}
	return nil
}
