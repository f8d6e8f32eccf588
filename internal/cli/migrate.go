package cli

import (
	"fmt"
	"text/tabwriter"

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

type migrateStatusCmd struct{}

func (migrateStatusCmd) Run(c *command) error {
	d, err := app.OpenDatabase(c.ctx, c.config)
	if err != nil {
		return err
	}
	defer d.Close()
	all, err := d.Status(c.ctx)
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	table := tabwriter.NewWriter(c.io.Out, 0, 0, 2, ' ', 0)
	for _, m := range all {
		state := "pending"
		if !m.Pending() {
			state = "applied " + m.AppliedAt.UTC().Format("2006-01-02 15:04:05Z")
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.Version, m.Name, state)
	}
	return table.Flush()
}
