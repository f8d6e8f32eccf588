package app

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"gatehouse/internal/config"
	"gatehouse/web/logging"
)

// NewLogger returns the server's log: text on a terminal, otherwise JSON, unless LOG_FORMAT says which.
func NewLogger(s config.Settings, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	var h slog.Handler = slog.NewJSONHandler(w, options)
	if s.LogFormat == "text" || s.LogFormat == "auto" && isTerminal(w) {
		h = slog.NewTextHandler(w, options)
	}
	return slog.New(logging.RequestIDHandler{Handler: logging.LimitOutages(h)})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
