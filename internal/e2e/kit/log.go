package kit

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// logLine is one line of the server's log.
type logLine map[string]any

// Text returns a field of the line that is a string.
func (l logLine) Text(name string) string {
	s, _ := l[name].(string)
	return s
}

// LogLines returns the log from the given offset on. Every line must be a JSON object.
func (x *Target) LogLines(from int) []logLine {
	x.T.Helper()
	var lines []logLine
	whole := x.Server.Log()[from:]
	whole = whole[:strings.LastIndexByte(whole, '\n')+1]
	for text := range strings.Lines(whole) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			x.T.Fatalf("the log has a line that is not JSON: %v\n%q", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

// Events returns the log's security events with this message.
func (x *Target) Events(message string) []logLine {
	x.T.Helper()
	var found []logLine
	for _, line := range x.LogLines(0) {
		if line["event"] == true && line.Text("msg") == message {
			found = append(found, line)
		}
	}
	return found
}

// RequestLog waits for the log line about a request and returns it.
func (x *Target) RequestLog(a Response) logLine {
	x.T.Helper()
	id := a.Header.Get("X-Request-Id")
	var found logLine
	testkit.Eventually(x.T, 5*time.Second, "the log line of the request", func() bool {
		for line := range strings.Lines(x.Server.Log()) {
			if strings.Contains(line, `"msg":"request"`) && strings.Contains(line, `"request_id":"`+id+`"`) {
				return json.Unmarshal([]byte(line), &found) == nil
			}
		}
		return false
	})
	return found
}

// WantWarm sends requests until the user is cached locally, and fails unless every further one costs a single round trip.
func (x *Target) WantWarm(t *testing.T, name string, request func() Response) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, name+" to be warm", func() bool {
		line := x.RequestLog(request())
		return line["sql"] == 0.0 && line["redis"] == 1.0
	})
	for range 20 {
		a := request()
		line := x.RequestLog(a)
		if a.StatusCode != http.StatusOK || line["sql"] != 0.0 || line["hashes"] != 0.0 || line["redis"] != 1.0 {
			t.Errorf("%s: %s for %v round trips, %v statements and %v hashes, want 200, 1, 0 and 0", name, a.Status, line["redis"], line["sql"], line["hashes"])
		}
		if len(a.Cookies()) > 0 {
			t.Errorf("%s: cookies %v", name, a.Cookies())
		}
	}
}
