//go:build unix

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// npmDir has the npm packages that tests use.
const npmDir = "tools/npm"

// installModules runs `npm ci` unless what it installed last is newer than the lock file.
// Packages may not run scripts of theirs.
func (g *gate) installModules(ctx context.Context) error {
	fresh, err := installedAfter(filepath.Join(npmDir, "node_modules", ".package-lock.json"),
		filepath.Join(npmDir, "package-lock.json"))
	if err != nil || fresh {
		return err
	}
	cmd := g.command(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = npmDir
	return finish(ctx, cmd)
}

// installedAfter says whether marker, which npm writes last, is there and not older than lock.
func installedAfter(marker, lock string) (bool, error) {
	want, err := os.Stat(lock)
	if err != nil {
		return false, err
	}
	have, err := os.Stat(marker)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !have.ModTime().Before(want.ModTime()), nil
}
