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

func TestDjangoTable(t *testing.T) {
	const table = "\uFEFFid,password,last_login,is_superuser,username,first_name,last_name,email,is_staff,is_active,date_joined\r\n" +
		"1,pbkdf2_sha256$1$s$x,NULL,t,alice,Alice,\"Exam\r\nple, Ltd\",alice@example.org,f,t,2024-05-01 10:20:30+02\r\n" +
		"2,!x,,f,bob,,,,0,0,2024-05-01 10:20:30.123456\r\n" +
		"3,x\r\n" +
		"4,y,,f,dora,,,,f,perhaps,yesterday\r\n"
	file, rows, err := read(t, table, Options{})
	if err != nil || file != (File{Django, CSV}) || len(rows) != 4 {
		t.Fatalf("%v %+v %+v", err, file, rows)
	}
	want := Row{Line: 2, ID: "1", Username: "alice", Name: "Alice Exam\nple, Ltd", Email: "alice@example.org", Active: true,
		Created: time.Date(2024, 5, 1, 8, 20, 30, 0, time.UTC), Hash: "pbkdf2_sha256$1$s$x", Powers: true}
	if fmt.Sprint(rows[0]) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", rows[0], want)
	}
	if r := rows[1]; r.Line != 4 || r.Active || r.Username != "bob" || r.Hash != "!x" || r.Created.Nanosecond() != 123456000 {
		t.Errorf("got %+v", r)
	}
	if r := rows[2]; r.Line != 5 || !strings.Contains(r.Fault, "2 fields") {
		t.Errorf("got %+v", r)
	}
	if r := rows[3]; r.Line != 6 || !strings.Contains(r.Fault, `"perhaps"`) || !strings.Contains(r.Fault, `"yesterday" is no time`) {
		t.Errorf("got %+v", r)
	}
}

func TestOtherTables(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		o      Options
		source string
		want   string // of the first row
	}{
		"Laravel":             {"id;name;email;email_verified_at;password;remember_token\n7;Ann;ann@example.org;2024-01-01 00:00:00;$2y$04$x;\n", Options{}, Laravel, "7 ann Ann ann@example.org true true"},
		"Laravel, unverified": {"id,name,email,email_verified_at,password,remember_token\n7,Ann,ann@example.org,\\N,$2y$04$x,\n", Options{}, Laravel, "7 ann Ann ann@example.org false true"},
		"Flask":               {"Login\tPW_Hash\tActive\nbob\tscrypt:1:1:1$s$x\tFalse\n", Options{}, Flask, "bob bob   false false"},
		"another column":      {"nick,name,password\nzed,Zed,x\n", Options{Username: "Nick"}, Flask, "zed zed Zed  false true"},
		"disabled":            {"username,password,disabled\nann,x,1\n", Options{}, Flask, "ann ann   false false"},
		"deleted":             {"username,password,deleted_at\nann,x,2024-01-01 00:00:00\n", Options{}, Flask, "ann ann   false false"},
		"told":                {"username,password\nann,x\n", Options{Source: Laravel}, Laravel, "ann ann   false true"},
		"htpasswd":            {"# people\n\nann:$2y$05$x\n", Options{}, Htpasswd, ""},
	} {
		file, rows, err := read(t, c.text, c.o)
		if err != nil || file.Source != c.source || len(rows) != 1 {
			t.Errorf("%s: %v %+v %+v", name, err, file, rows)
			continue
		}
		r := rows[0]
		if got := fmt.Sprint(r.ID, " ", r.Username, " ", r.Name, " ", r.Email, " ", r.Verified, " ", r.Active); c.want != "" && got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	_, rows, err := read(t, "\n\nann:$apr1$x\nbob\njoe:{SHA}x:y\n", Options{Source: Htpasswd})
	if err != nil || len(rows) != 3 || rows[0].Line != 3 || rows[0].Hash != "$apr1$x" || rows[1].Fault == "" || rows[2].Hash != "{SHA}x:y" {
		t.Errorf("htpasswd: %v %+v", err, rows)
	}
}

func TestDumpdata(t *testing.T) {
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
		t.Fatalf("%v %+v %+v", err, file, rows)
	}
	for _, r := range rows {
		got := fmt.Sprint(r.Line, " ", r.ID, " ", r.Username, " ", r.Groups, " ", r.Fault != "")
		if want := map[string]string{"alice": "3 1 alice [Staff Editors] false", "bob": "5 0b7e bob [Editors] false", "carol": "8 carol carol [9] true"}[r.Username]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestObjects(t *testing.T) {
	for _, text := range []string{
		"{\"id\": 1, \"username\": \"ann\", \"pw_hash\": \"x\", \"roles\": [\"a\", \"b\"], \"active\": null}\n7\n{\"id\": 2, \"username\": \"bob\", \"pw_hash\": \"y\"}\n",
		"[{\"id\": 1, \"username\": \"ann\", \"pw_hash\": \"x\", \"roles\": \"a,b\"},\n7,\n{\"id\": 2, \"username\": \"bob\", \"pw_hash\": \"y\"}]",
	} {
		file, rows, err := read(t, text, Options{})
		if err != nil || file != (File{Flask, JSON}) || len(rows) != 3 {
			t.Fatalf("%v %+v %+v", err, file, rows)
		}
		if r := rows[0]; r.Line != 1 || r.ID != "1" || strings.Join(r.Groups, " ") != "a b" || !r.Active || r.Fault != "" {
			t.Errorf("got %+v", r)
		}
		if rows[1].Fault == "" || rows[1].Line != 2 || rows[2].Username != "bob" || rows[2].Line != 3 {
			t.Errorf("got %+v", rows[1:])
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	for text, says := range map[string]string{
		"": "empty", " \n\t\n": "empty", "\uFEFF": "empty",
		"a,b\n1,2\n":                                   "no column for the password hash",
		"username,password\nann,x\n\"bob,y\n":          "line 3",
		"username,password\nann,\xff\n":                "line 2 is not UTF-8",
		"\xff\xfeu\x00":                                "line 1 is not UTF-8",
		"[{\"username\":\"ann\"}]":                     "no field for the password hash",
		"[{\"username\":\"ann\",":                      "ends in the middle",
		"[{\"username\":\"a\",\"password\":1} x":       "not JSON",
		"[]x":                                          "something follows",
		"[{\"username\":\"\xff\",\"password\":\"x\"}]": "not UTF-8",
		strings.Repeat("a", 2<<20):                     "longer than",
	} {
		_, _, err := read(t, text, Options{})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v, want something about %q", text, err, says)
		}
	}
	if _, _, err := read(t, "username,password\n", Options{Username: "nick"}); err == nil || !strings.Contains(err.Error(), `"nick"`) {
		t.Errorf("a column that is not there: %v", err)
	}
	if _, _, err := read(t, "x", Options{Format: "xml"}); err == nil {
		t.Error("xml is read")
	}
	stop := errors.New("stop")
	if err := Read(strings.NewReader("username,password\nann,x\nbob,y\n"), Options{}, func(File, Row) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if _, rows, err := read(t, "[]", Options{}); err != nil || len(rows) != 0 {
		t.Errorf("an empty list: %v %v", err, rows)
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
				t.Fatalf("line %d of %d in %q", r.Line, lines, text)
			}
			return nil
		})
	})
}
