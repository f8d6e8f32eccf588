package importer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, text string, o Options) (File, []Row, error) {
	t.Helper()
	var file File
	var rows []Row
	err := Read(strings.NewReader(text), o, func(f File, r Row) error {
		file = f
		rows = append(rows, r)
		return nil
	})
	return file, rows, err
}

func TestRead_ParsesADjangoTable(t *testing.T) {
	const table = "\uFEFFid,password,last_login,is_superuser,username,first_name,last_name,email,is_staff,is_active,date_joined\r\n" +
		"1,pbkdf2_sha256$1$s$x,NULL,t,alice,Alice,\"Exam\r\nple, Ltd\",alice@example.org,f,t,2024-05-01 10:20:30+02\r\n" +
		"2,!x,,f,bob,,,,0,0,2024-05-01 10:20:30.123456\r\n" +
		"3,x\r\n" +
		"4,y,,f,dora,,,,f,perhaps,yesterday\r\n"
	file, rows, err := read(t, table, Options{})
	if err != nil || file != (File{Django, CSV}) || len(rows) != 4 {
		t.Fatalf("got %v, %+v and the rows %+v", err, file, rows)
	}
	want := Row{Line: 2, ID: "1", Username: "alice", Name: "Alice Exam\nple, Ltd", Email: "alice@example.org", Active: true,
		Created: time.Date(2024, 5, 1, 8, 20, 30, 0, time.UTC), Hash: "pbkdf2_sha256$1$s$x", Privileged: true}
	if fmt.Sprint(rows[0]) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", rows[0], want)
	}
	if r := rows[1]; r.Line != 4 || r.Active || r.Username != "bob" || r.Hash != "!x" || r.Created.Nanosecond() != 123456000 {
		t.Errorf("got %+v, want the disabled bob of line 4", r)
	}
	if r := rows[2]; r.Line != 5 || !strings.Contains(r.Problem, "2 fields") {
		t.Errorf("got %+v, want a problem of line 5", r)
	}
	if r := rows[3]; r.Line != 6 || !strings.Contains(r.Problem, "is_active is not a boolean") || !strings.Contains(r.Problem, "date_joined is not a time") {
		t.Errorf("got %+v, want two problems of line 6", r)
	}
}

func TestRead_RecognizesOtherTables(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		o      Options
		source string
		want   string // of the first row
	}{
		"Laravel":               {"id;name;email;email_verified_at;password;remember_token\n7;Ann;ann@example.org;2024-01-01 00:00:00;$2y$04$x;\n", Options{}, Laravel, "7 ann Ann ann@example.org true true"},
		"Laravel, unverified":   {"id,name,email,email_verified_at,password,remember_token\n7,Ann,ann@example.org,\\N,$2y$04$x,\n", Options{}, Laravel, "7 ann Ann ann@example.org false true"},
		"Flask":                 {"Login\tPW_Hash\tActive\nbob\tscrypt:1:1:1$s$x\tFalse\n", Options{}, Flask, "bob bob   false false"},
		"username column given": {"nick,name,password\nzed,Zed,x\n", Options{Username: "Nick"}, Flask, "zed zed Zed  false true"},
		"addresses":             {"id,login,email,password\n1,ann,Bob.B@example.org,x\n", Options{Username: "email"}, Flask, "1 Bob.B  Bob.B@example.org false true"},
		"an address as name":    {"username,password\nann@example.org,x\n", Options{}, Flask, "ann@example.org ann@example.org   false true"},
		"disabled":              {"username,password,disabled\nann,x,1\n", Options{}, Flask, "ann ann   false false"},
		"deleted":               {"username,password,deleted_at\nann,x,2024-01-01 00:00:00\n", Options{}, Flask, "ann ann   false false"},
		"source given":          {"username,password\nann,x\n", Options{Source: Laravel}, Laravel, "ann ann   false true"},
		"htpasswd":              {"# people\n\nann:$2y$05$x\n", Options{}, Htpasswd, ""},
	} {
		file, rows, err := read(t, c.text, c.o)
		if err != nil || file.Source != c.source || len(rows) != 1 {
			t.Errorf("%s: got %v, %+v and the rows %+v; want one row from %s", name, err, file, rows, c.source)
			continue
		}
		r := rows[0]
		if got := fmt.Sprint(r.ID, " ", r.Username, " ", r.Name, " ", r.Email, " ", r.Verified, " ", r.Active); c.want != "" && got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	for text, want := range map[string]string{
		"email,password\nBob@a.example,x\n": "Bob Bob@a.example Bob@a.example", "id,email,password\n1,bob@a.example,x\n": "bob bob@a.example 1", "username,password\nbob,x\n": "bob  bob",
	} {
		_, rows, err := read(t, text, Options{})
		if err != nil || len(rows) != 1 || rows[0].Username+" "+rows[0].Address+" "+rows[0].ID != want {
			t.Errorf("%q: got %v and the rows %+v, want %q", text, err, rows, want)
		}
	}
	_, rows, err := read(t, "\n\nann:$apr1$x\nbob\njoe:{SHA}x:y\n", Options{Source: Htpasswd})
	if err != nil || len(rows) != 3 || rows[0].Line != 3 || rows[0].Hash != "$apr1$x" || rows[1].Problem == "" || rows[2].Hash != "{SHA}x:y" {
		t.Errorf("htpasswd: got %v and the rows %+v", err, rows)
	}
}

// TestRead_BadQuotesAffectOneRow: after a quoting error, reading resumes on the next line.
func TestRead_BadQuotesAffectOneRow(t *testing.T) {
	for text, want := range map[string]string{
		"username,name,password\nann,A \"B\" C,x\nbob,Bob,y\n":        "2 A quoted field; 3 bob",
		"username,name,password\nann,\"A \\\"B\",x\nbob,Bob,y\n":      "2 A quoted field; 3 bob",
		"username,name,password\nann,\"Ann,x\nbob,\"Bob\",y\njoe,J,z": "2 A quoted field to 3; 4 joe",
		"username,name,password\nann,Ann,x\nbob,\"Bob,y\njoe,J,z\n":   "2 ann; 3 A quoted field to 4",
		"username,name,password\nann,\"Ann,x\nbob,\",y\njoe,J,z":      "2 ann; 4 joe",
		"username,name,password\nann,\"Ann,x\nbob\",y,z\njoe,J,z":     "2 The row has 4 fields to 3; 4 joe",
	} {
		_, rows, err := read(t, text, Options{})
		var got []string
		for _, r := range rows {
			what := r.Username
			if r.Problem != "" {
				what, _, _ = strings.Cut(r.Problem, " is not")
				what, _, _ = strings.Cut(what, ",")
				if _, after, ok := strings.Cut(r.Problem, "All lines up to "); ok {
					what += " to " + after[:1]
				}
			}
			got = append(got, fmt.Sprint(r.Line, " ", what))
		}
		if err != nil || strings.Join(got, "; ") != want {
			t.Errorf("%q: got %q (%v), want %q", text, got, err, want)
		}
	}
}

// TestRead_ProblemsNameColumnsOnly: if columns are shifted, any of them can contain a hash or an address.
func TestRead_ProblemsNameColumnsOnly(t *testing.T) {
	const value = "ann@example.org"
	for _, column := range []string{"is_active", "disabled", "email_verified_at", "is_staff", "is_superuser", "created_at"} {
		for _, text := range []string{
			"username,password," + column + "\nann,x," + value + "\n",
			`{"username":"ann","password":"x","` + column + `":"` + value + `"}`,
		} {
			_, rows, err := read(t, text, Options{})
			if err != nil || len(rows) != 1 || !strings.Contains(rows[0].Problem, column) || strings.Contains(rows[0].Problem, value) {
				t.Errorf("%s: got %v and the rows %+v, want a problem that names only the column", column, err, rows)
			}
		}
	}
}

func TestRead_BadRowsDoNotDetermineTheSource(t *testing.T) {
	file, rows, err := read(t, `[7, {"model":"auth.user","pk":3,"fields":{"username":"ann","password":"x"}}]`, Options{})
	if err != nil || file.Source != Django || len(rows) != 2 || rows[1].ID != "3" {
		t.Errorf("got %v, %+v and the rows %+v; want the Django user 3 second", err, file, rows)
	}
}

func TestParseTime_ReadsEveryDatabaseFormat(t *testing.T) {
	want := time.Date(2024, 5, 1, 10, 20, 30, 0, time.UTC)
	for _, s := range []string{
		"2024-05-01 10:20:30+00", "2024-05-01 10:20:30.000000+00", "2024-05-01 12:20:30+02:00", "2024-05-01 12:20:30+0200", "2024-05-01 12:20:30 +0200",
		"2024-05-01 10:20:30", "2024-05-01T10:20:30", "2024-05-01T10:20:30Z", "2024-05-01T10:20:30.000000Z",
	} {
		if got, ok := parseTime(s); !ok || !got.Equal(want) {
			t.Errorf("%s: got %v, %t; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "yesterday", "2024-13-01", "24-05-01", "2024-05-01 25:00:00", "0000-00-00 00:00:00"} {
		if got, ok := parseTime(s); ok {
			t.Errorf("%s: got %v, want it refused", s, got)
		}
	}
	_, rows, err := read(t, "username,password,email_verified_at,created_at\nann,x,0000-00-00 00:00:00,0000-00-00 00:00:00\n", Options{})
	if err != nil || len(rows) != 1 || rows[0].Verified || rows[0].Problem != "" || !rows[0].Created.IsZero() {
		t.Errorf("MySQL's zero time: got %v and the rows %+v, want no time and no problem", err, rows)
	}
}

func TestRead_ResolvesDumpdataGroups(t *testing.T) {
	const dump = `[
{"model": "auth.permission", "pk": 1, "fields": {"name": "x"}},
{"model": "auth.user", "pk": 1, "fields": {"password": "a", "username": "alice", "groups": [2, 1], "is_active": true}},
{"model": "auth.group", "pk": 1, "fields": {"name": "Editors", "permissions": []}},
{"model": "auth.group", "pk": 2, "fields": {"name": "Staff"}}, {"model": "shop.customer",
 "pk": "0b7e", "fields": {"password": "b", "username": "bob", "groups": [["Editors"]]}},

{"model": "auth.user", "fields": {"password": "c", "username": "carol", "groups": [9]}}
]
`
	file, rows, err := read(t, dump, Options{})
	if err != nil || file != (File{Django, JSON}) || len(rows) != 3 {
		t.Fatalf("got %v, %+v and the rows %+v", err, file, rows)
	}
	for _, r := range rows {
		got := fmt.Sprint(r.Line, " ", r.ID, " ", r.Username, " ", r.Groups, " ", r.Problem != "")
		if want := map[string]string{"alice": "3 1 alice [Staff Editors] false", "bob": "5 0b7e bob [Editors] false", "carol": "8 carol carol [9] true"}[r.Username]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRead_ParsesJSONObjects(t *testing.T) {
	for _, text := range []string{
		"{\"id\": 1, \"username\": \"ann\", \"pw_hash\": \"x\", \"roles\": [\"a\", \"b\"], \"active\": null}\n7\n{\"id\": 2, \"username\": \"bob\", \"pw_hash\": \"y\"}\n",
		"[{\"id\": 1, \"username\": \"ann\", \"pw_hash\": \"x\", \"roles\": \"a,b\"},\n7,\n{\"id\": 2, \"username\": \"bob\", \"pw_hash\": \"y\"}]",
	} {
		file, rows, err := read(t, text, Options{})
		if err != nil || file != (File{Flask, JSON}) || len(rows) != 3 {
			t.Fatalf("got %v, %+v and the rows %+v", err, file, rows)
		}
		if r := rows[0]; r.Line != 1 || r.ID != "1" || strings.Join(r.Groups, " ") != "a b" || !r.Active || r.Problem != "" {
			t.Errorf("got %+v, want ann", r)
		}
		if rows[1].Problem == "" || rows[1].Line != 2 || rows[2].Username != "bob" || rows[2].Line != 3 {
			t.Errorf("got %+v, want a problem of line 2 and bob of line 3", rows[1:])
		}
	}
}

func TestRead_RejectsFiles(t *testing.T) {
	for text, want := range map[string]string{
		"": "empty", " \n\t\n": "empty", "\uFEFF": "empty",
		"a,b\n1,2\n":                                    "no column for the password hash",
		"ann,ann@example.org,$2y$04$cX\n":               "no column for the password hash",
		"username,password\nann,\xff\n":                 "line 2 is not UTF-8",
		"\xff\xfeu\x00":                                 "line 1 is not UTF-8",
		"[{\"username\":\"ann\"}]":                      "no field for the password hash",
		"[{\"username\":\"ann\",":                       "ends unexpectedly",
		"[{\"username\":\"a\",\"password\":1} x":        "line 1 is not valid JSON",
		"[{\"password\":1},\n\n\n{\"a\":1}\n{}]":        "line 5 is not valid JSON",
		"\n[{\"password\":1},\n{\"a\":\n1,,\n\n\n}]":    "line 4 is not valid JSON",
		"{\"password\":1}\n\n{\"a\":1,}\n":              "line 3 is not valid JSON",
		"[]x":                                           "more text",
		"[{\"username\":\"\xff\",\"password\":\"x\"}]":  "line 1 is not UTF-8",
		"\n[{\"password\":\"é\"},\n{\"a\":\"\n\xc3\"}]": "line 4 is not UTF-8",
		"{\"password\":\"\xc3":                          "line 1 is not UTF-8",
		strings.Repeat("a", 2<<20):                      "longer than",
	} {
		_, _, err := read(t, text, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want an error with %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "ann") {
			t.Errorf("%.40q: the error quotes the file: %v", text, err)
		}
	}
	if _, _, err := read(t, "username,password\n", Options{Username: "nick"}); err == nil || !strings.Contains(err.Error(), `"nick"`) {
		t.Errorf("a missing column: got %v, want an error that names it", err)
	}
	if _, _, err := read(t, `{"login":"ann","password":"x"}`, Options{Username: "nick"}); err == nil || !strings.Contains(err.Error(), `"nick"`) {
		t.Errorf("a missing field: got %v, want an error that names it", err)
	}
	if _, _, err := read(t, "x", Options{Format: "xml"}); err == nil {
		t.Error("the format xml is accepted")
	}
	stop := errors.New("stop")
	if err := Read(strings.NewReader("username,password\nann,x\nbob,y\n"), Options{}, func(File, Row) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the error of the callback", err)
	}
	if _, rows, err := read(t, "[]", Options{}); err != nil || len(rows) != 0 {
		t.Errorf("an empty list: got %v and the rows %v, want none", err, rows)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"username,password\nann,x\n", "[{\"username\":\"a\",\"password\":\"b\"}]", "ann:$2y$x\n", "{\"model\":\"auth.user\",\"fields\":{\"password\":1}}", "\uFEFF[", "a;password\n\"\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		_ = Read(strings.NewReader(text), Options{}, func(_ File, r Row) error {
			if r.Line < 1 || r.Line > lines {
				t.Fatalf("got line %d of %d in %q", r.Line, lines, text)
			}
			return nil
		})
	})
}
