package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"gatehouse/migrations"
)

// ErrSchemaNewer means that a newer Gatehouse has migrated the database, to a schema that this program does
// not know.
var ErrSchemaNewer = errors.New("the database schema is newer than this program")

// migrateLockSeconds is how long Migrate waits for another process to finish.
const migrateLockSeconds = 300

// versionTable is where goose records the applied migrations.
const versionTable = "goose_db_version"

// MigrationStatus describes one version of the schema.
type MigrationStatus struct {
	Version int64
	// Name is the file's name; empty for a version that this program does not know.
	Name string
	// AppliedAt is when it was applied (UTC); zero if it is pending.
	AppliedAt time.Time
}

// Pending reports whether the version has not been applied.
func (s MigrationStatus) Pending() bool { return s.AppliedAt.IsZero() }

// Migrate brings the schema up to date. Any number of processes may call it concurrently: one works, the
// others wait up to five minutes, or until ctx ends. It returns ErrSchemaNewer, and changes nothing, if the
// database is newer than this program.
func (d *DB) Migrate(ctx context.Context) error {
	if _, _, err := d.SchemaVersions(ctx); err != nil {
		return err
	}
	if err := d.migrate(ctx); err != nil {
		return d.wrapError(ctx, ctx, "migrate", err)
	}
	return d.fillComputed(ctx, d.dialect.lockRows)
}

func (d *DB) migrate(ctx context.Context) error {
	if d.path != "" {
		unlock, err := lockSQLite(ctx, d.path)
		if err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		defer unlock()
	}
	pool, err := d.connect()
	if err != nil {
		return err
	}
	defer pool.Close()
	p, err := d.provider(pool)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// provider returns goose on the pool, without output.
func (d *DB) provider(pool *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations.FS, d.dialect.migrations)
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()),
	}
	if d.path == "" {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, migrateLockSeconds))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(d.dialect.goose, pool, files, options...)
}

// SchemaVersions returns the schema's version in the database (0 if it is empty) and the version that this
// program needs. The schema is outdated if current < want; if current > want, the error wraps
// ErrSchemaNewer. It changes nothing.
func (d *DB) SchemaVersions(ctx context.Context) (current, want int64, err error) {
	all, err := d.Status(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range all {
		if !s.Pending() {
			current = max(current, s.Version)
		}
		if s.Name != "" {
			want = max(want, s.Version)
		}
	}
	if current > want {
		return current, want, fmt.Errorf("%w: it has version %d, this program needs %d", ErrSchemaNewer, current, want)
	}
	return current, want, nil
}

// Status returns every version that the program or the database knows, in order. It changes nothing.
func (d *DB) Status(ctx context.Context) ([]MigrationStatus, error) {
	applied, err := d.applied(ctx)
	if err != nil {
		return nil, err
	}
	known, err := d.known()
	if err != nil {
		return nil, err
	}
	var all []MigrationStatus
	for version, name := range known {
		all = append(all, MigrationStatus{Version: version, Name: name, AppliedAt: applied[version]})
	}
	for version, at := range applied {
		if _, ok := known[version]; !ok {
			all = append(all, MigrationStatus{Version: version, AppliedAt: at})
		}
	}
	slices.SortFunc(all, func(a, b MigrationStatus) int { return int(a.Version - b.Version) })
	return all, nil
}

// known returns the names of the program's migrations by version.
func (d *DB) known() (map[int64]string, error) {
	files, err := fs.Glob(migrations.FS, path.Join(d.dialect.migrations, "*.sql"))
	if err != nil {
		return nil, err
	}
	known := map[int64]string{}
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", file, err)
		}
		known[version] = path.Base(file)
	}
	return known, nil
}

// applied returns when each version was applied. It does not ask goose, which would create its table.
func (d *DB) applied(ctx context.Context) (map[int64]time.Time, error) {
	const what = "read the schema version"
	var exists bool
	err := d.read(ctx, what, d.dialect.hasTable, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &exists, versionTable)
	})
	if err != nil || !exists {
		return nil, err
	}
	var rows []struct {
		Version int64     `db:"version_id"`
		At      timestamp `db:"tstamp"`
	}
	err = d.read(ctx, what, `SELECT version_id, tstamp FROM `+versionTable+` WHERE version_id > 0`,
		func(ctx context.Context, s *sqlx.Stmt) error {
			rows = nil
			return s.SelectContext(ctx, &rows)
		})
	if err != nil {
		return nil, err
	}
	applied := map[int64]time.Time{}
	for _, r := range rows {
		applied[r.Version] = time.Time(r.At)
	}
	return applied, nil
}
