package templates

import "strings"

// codeQuotes removes the marks around code in the Markdown of the OpenAPI description.
var codeQuotes = strings.NewReplacer("`", "")
