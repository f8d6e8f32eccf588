package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/templates"
	"gatehouse/web"
)

// apiPage describes the API to people.
func (h *Handlers) apiPage(r *web.Request) (web.Response, error) {
	operations, err := apiOperations(h.OpenAPI)
	if err != nil {
		return web.Response{}, err
	}
	page := templates.APIPage{Page: r.Page("API"), Site: r.AbsoluteURL(""), Operations: operations}
	page.Description = "The HTTP API of this Gatehouse: the current user, the time, and API tokens."
	return web.Show(http.StatusOK, templates.API(page)), nil
}

// openAPIPath is the one operation that the page links to instead.
const openAPIPath = "/api/openapi.json"

// apiMethods are in the order in which the page lists them.
var apiMethods = []string{"get", "post", "delete"}

// apiOperations returns the operations that an OpenAPI document describes, sorted by path.
func apiOperations(document []byte) ([]templates.APIOperation, error) {
	var described struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(document, &described); err != nil {
		return nil, fmt.Errorf("read the description of the API: %w", err)
	}
	var all []templates.APIOperation
	for path, methods := range described.Paths {
		for _, method := range apiMethods {
			if methods[method] == nil || path == openAPIPath {
				continue
			}
			o := templates.APIOperation{Method: strings.ToUpper(method), Path: path}
			if err := json.Unmarshal(methods[method], &o); err != nil {
				return nil, fmt.Errorf("read the description of %s %s: %w", o.Method, path, err)
			}
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b templates.APIOperation) int {
		if order := strings.Compare(a.Path, b.Path); order != 0 {
			return order
		}
		return slices.Index(apiMethods, strings.ToLower(a.Method)) - slices.Index(apiMethods, strings.ToLower(b.Method))
	})
	return all, nil
}
