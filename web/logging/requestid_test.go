package logging

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestRequestIDHandler_AddsTheID(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(RequestIDHandler{slog.NewJSONHandler(&out, nil)})
	ctx := WithRequestID(t.Context(), "id-7")
	log.With("a", 1).WithGroup("g").InfoContext(ctx, "x")
	log.InfoContext(t.Context(), "y")
	if n := strings.Count(out.String(), "id-7"); n != 1 {
		t.Errorf("got the id %d times: %s", n, out.String())
	}
}
