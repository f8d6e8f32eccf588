// Package docs embeds the documents that the server serves. It imports nothing of Gatehouse.
package docs

import _ "embed"

// OpenAPI is the description of the API (OpenAPI 3.1, JSON).
//
//go:embed openapi.json
var OpenAPI []byte
