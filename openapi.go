package main

import _ "embed"

// openAPI describes the API (OpenAPI 3.1).
//
//go:embed docs/openapi.json
var openAPI []byte
