package config

import (
	"strings"
	"testing"
	"time"
)

func TestValidate_ReportsAllFaults(t *testing.T) {
	s := defaults(t)
	s.ListenAddr, s.BaseURL, s.DatabaseURL, s.RedisURL, s.SecretKey = "localhost:99999", "http://h:70000", "mysql://h", "redis://h:port", "aHVudGVyMg=="
	s.TrustedProxies, s.SessionIdle, s.UserCacheTTL, s.PasswordMin, s.MetricsAddr = []string{"x"}, 48*time.Hour, time.Millisecond, 1, "9090"
	_, faults := s.Validate()
	want := []string{
		`LISTEN_ADDR "localhost:99999": the port "99999" is not a number from 1 to 65535`,
		`BASE_URL "http://h:70000": the port "70000" is not a number from 1 to 65535`,
		`DATABASE_URL: must be postgres://… or sqlite:PATH`,
		`REDIS_URL: the port of the Redis URL is not a number from 1 to 65535`,
		`SECRET_KEY: key 1 has 7 bytes`,
		`TRUSTED_PROXIES: "x" is not a network such as 10.0.0.0/8`,
		`USER_CACHE_TTL is 1ms; it must be at least 1s`,
		`SESSION_IDLE is 48h, which is longer than SESSION_LIFETIME (24h)`,
		`PASSWORD_MIN_LENGTH is 1; it must be 8 to 64`,
		`METRICS_ADDR "9090" is not host:port`,
	}
	got := strings.Split(faults.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), faults)
	}
	for i, line := range want {
		if !strings.HasPrefix(got[i], line) {
			t.Errorf("line %d is %s, want %s", i+1, got[i], line)
		}
	}
	if setting := SettingOf(faults[5]); setting != "TRUSTED_PROXIES" {
		t.Errorf("got %q", setting)
	}
	if _, faults := defaults(t).Validate(); faults != nil {
		t.Errorf("the defaults: %v", faults)
	}
}

func TestCheckAddress_NamesABadPort(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:8080": "", ":0": "", "[::1]:443": "", "localhost:http": "",
		"localhost": "is not host:port", "8080": "is not host:port",
		"localhost:": `the port "" is not a number`, "localhost:65536": `the port "65536" is not`, "localhost:-1": `the port "-1" is not`, "localhost:80a": `the port "80a" is not`,
	} {
		err := checkAddress("LISTEN_ADDR", addr)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", addr, err, want)
		}
	}
}

func TestParseBaseURL_NamesABadPort(t *testing.T) {
	for raw, port := range map[string]string{"http://h:70000": "70000", "https://h:80a/": "80a", "https://h:0": "0", "http://[::1]:x": "x"} {
		if _, err := parseBaseURL(raw); err == nil || !strings.Contains(err.Error(), `the port "`+port+`" is not a number from 1 to 65535`) {
			t.Errorf("%s: got %v", raw, err)
		}
	}
}

func TestParseDuration_AcceptsDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "30d12h": 732 * time.Hour, "2w": 336 * time.Hour, "1.5d": 36 * time.Hour,
		"90m": 90 * time.Minute, "1.5h": 90 * time.Minute, "1h30m": 90 * time.Minute, "5us": 5 * time.Microsecond, "0": 0, "-1h": -time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "3600", "soon", "30 d", "d", "1y", "99999999999d", "1h2"} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), "is not a duration such as 90m, 12h or 30d") {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

func TestProgram_IsWhatPeopleTyped(t *testing.T) {
	for called, want := range map[string]string{
		"gatehouse": "gatehouse", "dist/gatehouse": "dist/gatehouse", "/usr/bin/gatehouse": "/usr/bin/gatehouse", "/my apps/gatehouse": "'/my apps/gatehouse'",
		"/tmp/go-build1979553032/b001/exe/gatehouse":                                                            "go run .",
		"/root/.cache/go-build/00/009cc9681e979d2cd5a6b11f0a8379b9d8ec6137e45fcf321c860a75357ba3a3-d/gatehouse": "go run .",
		"/tmp/cli.test": "gatehouse", "": "gatehouse",
	} {
		if got := program(called); got != want {
			t.Errorf("%s: got %s, want %s", called, got, want)
		}
	}
}
