package cli

import (
	"fmt"

	"gatehouse/internal/config"
)

type versionCmd struct{}

func (versionCmd) settingsOptional() {}

func (versionCmd) Run(c *command) error {
	fmt.Fprintln(c.io.Out, "gatehouse", config.Version())
	return nil
}
