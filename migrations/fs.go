// Package migrations holds the database schema as goose migrations, one directory per dialect, both with
// the same version numbers. The statements of a published migration never change; a change of the schema
// is a new file. It contains no code and imports nothing of Gatehouse.
package migrations

import "embed"

// FS holds postgres/*.sql and sqlite/*.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var FS embed.FS
