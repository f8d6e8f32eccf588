package cli

import (
	"fmt"
	"time"

	"gatehouse/internal/app"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply pending migrations; concurrent runs wait for each other."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations."`
}

type migrateUpCmd struct{}

func (migrateUpCmd) Run(c *command) error {
	d, err := app.OpenDatabase(c.ctx, c.config)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := app.RetryTimeouts(c.ctx, func() error { return d.Migrate(c.ctx) }); err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	current, _, err := d.SchemaVersions(c.ctx)
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	c.printf("The schema is at version %d.", current)
	return nil
}

type migrateStatusCmd struct{ jsonFlag }

// migrationJSON is a migration in the output of --json.
type migrationJSON struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	// AppliedAt is null for a pending migration.
	AppliedAt *time.Time `json:"applied_at"`
}

func (a migrateStatusCmd) Run(c *command) error {
	d, err := app.OpenDatabase(c.ctx, c.config)
	if err != nil {
		return err
	}
	defer d.Close()
	all, err := d.Status(c.ctx)
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	migrations := []migrationJSON{}
	for _, m := range all {
		migrations = append(migrations, migrationJSON{m.Version, m.Name, timestamp(m.AppliedAt)})
	}
	if a.JSON {
		return c.printJSON(migrations)
	}
	var rows [][]string
	for _, m := range migrations {
		state := "pending"
		if m.AppliedAt != nil {
			state = "applied " + m.AppliedAt.Format("2006-01-02 15:04:05Z")
		}
		rows = append(rows, []string{fmt.Sprint(m.Version), m.Name, state})
	}
	return writeTable(c.io.Out, rows, terminalWidth(c.io.Out))
}
