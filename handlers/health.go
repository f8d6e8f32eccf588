package handlers

import (
	"net/http"

	"gatehouse/web"
)

// healthz reports that the process is running.
func (h *Handlers) healthz(*web.Request) (web.Response, error) {
	return web.Text(http.StatusOK, "ok\n"), nil
}

// readyz reports whether the database and Redis respond. Anyone can read it, so the errors are only logged.
func (h *Handlers) readyz(r *web.Request) (web.Response, error) {
	status, text := http.StatusOK, ""
	ready := h.Ready(r.Context())
	for _, name := range []string{"database", "redis", "cache"} {
		answer := "ok"
		if err := ready[name]; err != nil {
			status, answer = http.StatusServiceUnavailable, "does not answer"
			r.Log().WarnContext(r.Context(), "not ready", "server", name, "error", err)
		}
		text += name + ": " + answer + "\n"
	}
	return web.Text(status, text), nil
}
