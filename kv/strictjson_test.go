package kv

import (
	"strings"
	"testing"

	"gatehouse/auth"
)

// TestParse_CaseSensitiveNamesAndUTC: as docs/session-format.md specifies for every reader.
func TestParse_CaseSensitiveNamesAndUTC(t *testing.T) {
	session := string(encode(t, newSession(1, "u1")))
	for name, c := range map[string]struct {
		old, new string
		want     bool
	}{
		"as written":                {"", "", true},
		"V after v":                 {`"v":1`, `"v":1,"V":2`, true},
		"V before v":                {`"v":1`, `"V":2,"v":1`, true},
		"V instead of v":            {`"v":1`, `"V":1`, false},
		"a long s in user_id":       {`"user_id"`, `"uſer_id"`, false},
		"User_ID before user_id":    {`"user_id"`, `"User_ID":"u2","user_id"`, true},
		"a deadline with an offset": {`Z","idle_seconds"`, `+00:00","idle_seconds"`, false},
		"DEADLINE after deadline":   {`"idle_seconds"`, `"DEADLINE":"2999-01-01T00:00:00Z","idle_seconds"`, true},
	} {
		text := session
		if c.old != "" {
			if text = strings.Replace(session, c.old, c.new, 1); text == session {
				t.Fatalf("%s: nothing to replace in %s", name, session)
			}
		}
		rec, ok := parseSession([]byte(text))
		if ok != c.want || ok && (rec.UserID != "u1" || rec.Version != auth.SessionVersion || rec.Deadline.Year() == 2999) {
			t.Errorf("%s: got %+v, %t; want it accepted: %t", name, rec, ok, c.want)
		}
	}
	user := `{"v":1,"id":"u1","username":"alice","epoch":1,"active":false,"Active":true,"Permissions":["users.manage"]}`
	if u, ok := parseUser([]byte(user), "u1"); !ok || u.Active || len(u.Permissions) != 0 {
		t.Errorf("a user: got %+v, %t; want an inactive user without permissions", u, ok)
	}
}
