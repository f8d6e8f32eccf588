// Package migrations holds the database schema as goose migrations, one folder
// for each dialect. Both folders have the same version numbers. A published file
// is never edited; a change is a new file.
package migrations

import "embed"

// FS holds postgres/*.sql and sqlite/*.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var FS embed.FS
