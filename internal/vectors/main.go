// Command vectors prints clients/vectors.json: the cases that every reader of sessions must get
// right (docs/session-format.md), whatever its language.
//
//	go run ./internal/vectors > clients/vectors.json
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/auth"
)

// What a reader makes of a visitor.
const (
	signedIn  = "signed in"
	signedOut = "signed out"
	notKnown  = "user not cached"
)

// file is clients/vectors.json.
type file struct {
	About string `json:"about"`
	// Now is the reader's clock in every case.
	Now   string  `json:"now"`
	Cases []*item `json:"cases"`
}

// item is one case: a cookie's value, or a raw Cookie header and the name of the cookie; what Redis holds; and what
// the reader must say.
type item struct {
	Name   string  `json:"name"`
	Cookie *string `json:"cookie,omitempty"`
	// CookieHeader is written in base64, because not all headers are text.
	CookieHeader []byte  `json:"cookie_header,omitempty"`
	CookieName   string  `json:"cookie_name,omitempty"`
	Redis        []entry `json:"redis"`
	Want         string  `json:"want"`
	// User is what the reader must tell of a visitor who is signed in.
	User *user `json:"user,omitempty"`
}

// entry is a key of REDIS_URL ("session:…") or of CACHE_URL ("user:…"), and its value: as text, or in base64
// where it is none.
type entry struct {
	Key    string  `json:"key"`
	Text   *string `json:"text,omitempty"`
	Base64 string  `json:"base64,omitempty"`
}

type user struct {
	ID          string   `json:"id"`
	Username    string   `json:"username"`
	Name        string   `json:"name"`
	Email       string   `json:"email"`
	Groups      []string `json:"groups"`
	Permissions []string `json:"permissions"`
}

const (
	now    = "2026-11-20T12:00:00Z"
	cookie = "q83vEjRWeJASNFZ4kBI0VniQEjRWeJASNFZ4kBI0Vng"
	alice  = "01a1fb2c-1ab5-744f-bc47-f808a5349af0"
	bob    = "01a1fb2c-1ab5-744f-bc47-f808a5349af1"
)

// field is a name and its value as JSON; "" leaves the field out.
type field struct{ name, value string }

var (
	session = []field{
		{"v", "1"}, {"id", quote(auth.SessionID(cookie))}, {"user_id", quote(alice)}, {"epoch", "3"},
		{"created_at", `"2026-11-20T08:00:00.1Z"`}, {"signed_in_at", `"2026-11-20T08:00:00.1Z"`},
		{"deadline", `"2026-11-21T08:00:00Z"`}, {"idle_seconds", "7200"}, {"remember", "false"}, {"amr", `["pwd"]`},
		{"user_agent", `"Mozilla/5.0"`}, {"address", `"192.0.2.7"`},
	}
	account = []field{
		{"v", "1"}, {"id", quote(alice)}, {"username", `"alice"`}, {"name", `"Alice Exämple"`}, {"email", `"alice@example.org"`},
		{"email_verified", "true"}, {"time_zone", `"Europe/Berlin"`}, {"epoch", "3"}, {"active", "true"},
		{"groups", `["editors","staff"]`}, {"permissions", `["articles.publish","users.view"]`},
		{"created_at", `"2026-11-01T08:00:00Z"`}, {"updated_at", `"2026-11-01T08:00:00Z"`},
	}
	told = user{alice, "alice", "Alice Exämple", "alice@example.org", []string{"editors", "staff"}, []string{"articles.publish", "users.view"}}
)

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// object writes the fields, with others in the place of some of them or after them.
func object(fields []field, changed ...field) string {
	replaced := make(map[string]string)
	for _, f := range changed {
		replaced[f.name] = f.value
	}
	var parts []string
	write := func(f field) {
		if f.value != "" {
			parts = append(parts, quote(f.name)+":"+f.value)
		}
	}
	for _, f := range fields {
		if value, ok := replaced[f.name]; ok {
			f.value = value
			delete(replaced, f.name)
		}
		write(f)
	}
	for _, f := range changed {
		if _, left := replaced[f.name]; left {
			write(f)
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// vectors collects the cases.
type vectors struct{ cases []*item }

func (v *vectors) add(name, want, sessionValue, userValue string) *item {
	token := cookie
	c := &item{Name: name, Cookie: &token, Want: want, Redis: []entry{}}
	if sessionValue != "" {
		c.Redis = append(c.Redis, value("session:"+auth.SessionID(cookie), sessionValue))
	}
	if userValue != "" {
		c.Redis = append(c.Redis, value("user:"+alice, userValue))
	}
	if want == signedIn {
		copied := told
		c.User = &copied
	}
	v.cases = append(v.cases, c)
	return c
}

func value(key, text string) entry {
	if utf8.ValidString(text) && !strings.ContainsRune(text, '\uFEFF') {
		return entry{Key: key, Text: &text}
	}
	return entry{Key: key, Base64: base64.StdEncoding.EncodeToString([]byte(text))}
}

// all returns every case.
func all() file {
	v := &vectors{}
	v.good()
	v.gone()
	v.cookies()
	v.headers()
	v.damaged()
	v.sessionFields()
	v.userFields()
	return file{
		About: "The cases of docs/session-format.md. A reader gets the cookie and looks up keys in redis, where the key " +
			"is all that counts; its clock shows now. Made by: go run ./internal/vectors",
		Now: now, Cases: v.cases,
	}
}

func (v *vectors) good() {
	s, u := object(session), object(account)
	v.add("good", signedIn, s, u)
	v.add("unknown fields in the session are ignored", signedIn,
		object(session, field{"later", `{"v":2,"deadline":"2000-01-01T00:00:00Z"}`}, field{"V", "2"}, field{"Id", `"x"`}, field{"Epoch", "9"}, field{"DEADLINE", `"2000-01-01T00:00:00Z"`}), u)
	v.add("unknown fields in the user are ignored", signedIn, s,
		object(account, field{"later", `[{"active":false}]`}, field{"Active", "false"}, field{"V", "2"}, field{"Permissions", `["everything.all"]`}, field{"Username", `"mallory"`}))
	v.add("white space around the record", signedIn, " \n\t"+s+"\r\n", "\n"+u+" ")
	v.add("another order of fields", signedIn, object(reversed(session)), object(reversed(account)))
	v.add("names and values with escapes", signedIn, strings.Replace(s, `"v"`, `"\u0076"`, 1), strings.Replace(u, "alice@", `\u0061lice@`, 1))
	v.add("deadline one second ahead", signedIn, object(session, field{"deadline", `"2026-11-20T12:00:01Z"`}), u)
	v.add("deadline with a fraction, ahead", signedIn, object(session, field{"deadline", `"2026-11-20T12:00:00.5Z"`}), u)
	v.add("deadline with nine digits of fraction", signedIn, object(session, field{"deadline", `"2026-11-20T13:00:00.123456789Z"`}), u)
	v.add("deadline far ahead", signedIn, object(session, field{"deadline", `"2400-02-29T23:59:59Z"`}), u)
	v.add("epoch 0", signedIn, object(session, field{"epoch", "0"}), object(account, field{"epoch", "0"}))
	v.add("the largest epoch", signedIn, object(session, field{"epoch", "9007199254740991"}), object(account, field{"epoch", "9007199254740991"}))
	v.add("the longest idle time", signedIn, object(session, field{"idle_seconds", "315360000"}), u)
	v.add("only what is checked", signedIn, object(session[:4], session[6], session[7]), u)
	for _, empty := range []string{"", "null", "[]"} {
		c := v.add("groups and permissions "+or(empty, "left out"), signedIn, s, object(account, field{"groups", empty}, field{"permissions", empty}))
		c.User.Groups, c.User.Permissions = []string{}, []string{}
	}
	for _, empty := range []string{"", `""`} {
		c := v.add("name and email "+or(empty, "left out"), signedIn, s, object(account, field{"name", empty}, field{"email", empty}))
		c.User.Name, c.User.Email = "", ""
	}
	for _, unverified := range []string{"", "false", "null", `"true"`, "1", "[true]"} {
		c := v.add("the address is not verified: email_verified is "+or(unverified, "left out"), signedIn, s, object(account, field{"email_verified", unverified}))
		c.User.Email = ""
	}
	c := v.add("a name in other scripts", signedIn, s, object(account, field{"name", quote("Алиса 爱丽丝 \"<b>&\U0001F511")}))
	c.User.Name = "Алиса 爱丽丝 \"<b>&\U0001F511"
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func reversed(fields []field) []field {
	var back []field
	for i := len(fields) - 1; i >= 0; i-- {
		back = append(back, fields[i])
	}
	return back
}

func (v *vectors) gone() {
	s, u := object(session), object(account)
	v.add("signed out: the key is gone", signedOut, "", u)
	v.add("nothing at all", signedOut, "", "")
	v.add("expired: the deadline has passed", signedOut, object(session, field{"deadline", `"2026-11-20T11:59:59Z"`}), u)
	v.add("expired: the deadline is now", signedOut, object(session, field{"deadline", `"2026-11-20T12:00:00Z"`}), u)
	v.add("expired: long ago", signedOut, object(session, field{"deadline", `"0001-01-01T00:00:00Z"`}), u)
	v.add("the user is not in the cache", notKnown, s, "")
	v.add("the user is about to be filled", notKnown, s, "lease:ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	v.add("the user was deleted", signedOut, s,
		`{"v":1,"id":"01a1fb2c-1ab5-744f-bc47-f808a5349af0","username":"","epoch":0,"active":false,"deleted":true,"lease":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`)
	v.add("expired, and the user is not in the cache", signedOut, object(session, field{"deadline", `"2026-11-20T11:59:59Z"`}), "")
	v.add("damaged, and the user is not in the cache", signedOut, object(session, field{"epoch", ""}), "")
}

func (v *vectors) cookies() {
	s, u := object(session), object(account)
	for name, bad := range map[string]string{
		"is empty": "", "is too short": cookie[1:], "is too long": cookie + "A", "has the padding of base64": cookie + "=",
		"has characters of plain base64": "+" + cookie[1:], "has a space": " " + cookie[1:], "ends in a line feed": cookie[:42] + "\n",
		"has a line feed after it": cookie + "\n", "is a pattern": "*" + cookie[1:], "has letters from elsewhere": "é" + cookie[2:], "is NUL": strings.Repeat("\x00", 43),
		"is the id instead of the value": auth.SessionID(cookie),
	} {
		c := v.add("the cookie "+name, signedOut, s, u)
		c.Cookie = &bad
		if name != "is the id instead of the value" {
			// A reader that looked all the same would find a good one.
			c.Redis[0].Key = "session:" + auth.SessionID(bad)
			text := object(session, field{"id", quote(auth.SessionID(bad))})
			c.Redis[0].Text = &text
		}
	}
	byName(v.cases[len(v.cases)-12:])
}

// headers are raw Cookie headers: readers find the same cookies in them, whatever their language's own parser
// would make of them.
func (v *vectors) headers() {
	const host = "__Host-gatehouse"
	s, u := object(session), object(account)
	dead, other := strings.Repeat("A", 43), "B"+cookie[1:]
	deads := strings.Repeat(host+"="+dead+"; ", 3)
	for _, c := range []struct{ name, header, want string }{
		{"is alone", host + "=" + cookie, signedIn},
		{"is between others", "a=b; " + host + "=" + cookie + "; c=d", signedIn},
		{"has no spaces around it", "a=b;" + host + "=" + cookie + ";c=d", signedIn},
		{"has spaces and tabs around it", "a=b; \t " + host + "=" + cookie + " \t ;c=d", signedIn},
		{"has a space and a tab after its name", host + " \t=" + cookie, signedIn},
		{"has a space before its value", host + "= " + cookie, signedOut},
		{"has a tab before its value", host + "=\t" + cookie, signedOut},
		{"follows empty parts", ";;; ;=; = ; =x;" + host + "=" + cookie, signedIn},
		{"follows a part without a name", "=" + dead + "; " + host + "=" + cookie, signedIn},
		{"follows a part without =", host + "; " + dead + "; " + host + "=" + cookie, signedIn},
		{"has no name", "=" + cookie, signedOut},
		{"has no = before it", host + " " + cookie, signedOut},
		{"is in double quotes", host + `="` + cookie + `"`, signedOut},
		{"begins with a double quote", host + `="` + cookie, signedOut},
		{"follows one in double quotes", host + `="` + cookie + `"; ` + host + "=" + cookie, signedIn},
		{"follows another's open quote", `a="b; ` + host + "=" + cookie, signedIn},
		{"is inside the quotes of another", `a="b; ` + host + "=" + cookie + `; c"`, signedIn},
		{"has a quoted name", `"` + host + `"=` + cookie, signedOut},
		{"has a backslash in its name", `__Host-gateh\ouse=` + cookie, signedOut},
		{"is percent-encoded", host + "=%71" + cookie[1:], signedOut},
		{"has a percent-encoded name", "__Host%2Dgatehouse=" + cookie, signedOut},
		{"has a name in capitals", strings.ToUpper(host) + "=" + cookie, signedOut},
		{"has a name with small letters only", strings.ToLower(host) + "=" + cookie, signedOut},
		{"has a longer name", "x" + host + "=" + cookie, signedOut},
		{"has the name without its prefix", "gatehouse=" + cookie, signedOut},
		{"has the other prefix", "__Secure-gatehouse=" + cookie, signedOut},
		{"has a name with brackets", host + "[]=" + cookie, signedOut},
		{"has a name with dots for underscores", "..Host-gatehouse=" + cookie, signedOut},
		{"has a name with spaces for underscores", "  Host-gatehouse=" + cookie, signedOut},
		{"has the byte A0 before its name", "\xa0" + host + "=" + cookie, signedOut},
		{"has the byte A0 after its name", host + "\xa0=" + cookie, signedOut},
		{"has the byte A0 before its value", host + "=\xa0" + cookie, signedOut},
		{"has the byte A0 after its value", host + "=" + cookie + "\xa0", signedOut},
		{"has a no-break space in UTF-8 before its name", "\u00a0" + host + "=" + cookie, signedOut},
		{"has an ideographic space before its name", "\u3000" + host + "=" + cookie, signedOut},
		{"has a byte order mark before its name", "\uFEFF" + host + "=" + cookie, signedOut},
		{"has the byte 85 before its name", "\x85" + host + "=" + cookie, signedOut},
		{"has a vertical tab before its name", "\v" + host + "=" + cookie, signedOut},
		{"has a form feed before its name", "\f" + host + "=" + cookie, signedOut},
		{"has a unit separator before its name", "\x1f" + host + "=" + cookie, signedOut},
		{"follows a comma", "a=b, " + host + "=" + cookie, signedOut},
		{"ends in a comma", host + "=" + cookie + ", a=b", signedOut},
		{"has an attribute after it", host + "=" + cookie + "; Path=/; HttpOnly", signedIn},
		{"follows bytes that are not UTF-8", "a=\xff\xfe; \xc3=x; " + host + "=" + cookie, signedIn},
		{"follows a name from elsewhere", "gät=1; 門=2; " + host + "=" + cookie, signedIn},
		{"is the last of 8 KiB", strings.Repeat("a="+strings.Repeat("x", 118)+"; ", 67) + host + "=" + cookie, signedIn},
		{"follows 4 KiB of spaces", strings.Repeat(" ", 4096) + host + "=" + cookie, signedIn},
		{"follows a name with 4 KiB of spaces in it", "a" + strings.Repeat(" ", 4096) + "b=c; " + host + "=" + cookie, signedIn},
		{"is there twice", host + "=" + cookie + "; " + host + "=" + cookie, signedIn},
		{"follows a short one", host + "=short; " + host + "=" + cookie, signedIn},
		{"follows an empty one", host + "=; " + host + "=" + cookie, signedIn},
		{"precedes a dead one", host + "=" + cookie + "; " + host + "=" + dead, signedIn},
		{"follows a dead one", host + "=" + dead + "; " + host + "=" + cookie, signedIn},
		{"is the fourth of the right shape", deads + host + "=" + cookie, signedIn},
		{"is the fifth of the right shape", deads + host + "=" + dead + "; " + host + "=" + cookie, signedOut},
		{"is the fourth of the right shape after ten others", strings.Repeat(host+"=x; ", 10) + deads + host + "=" + cookie, signedIn},
		{"follows one of a session that has expired", host + "=" + other + "; " + host + "=" + cookie, signedIn},
	} {
		v.add("the cookie in the header "+c.name, c.want, s, u).header(c.header, host)
	}
	expired := value("session:"+auth.SessionID(other), object(session, field{"id", quote(auth.SessionID(other))}, field{"deadline", `"2026-11-20T11:00:00Z"`}))
	last := v.cases[len(v.cases)-1]
	last.Redis = append(last.Redis, expired)

	both := host + "=" + other + "; " + host + "=" + cookie
	another := value("session:"+auth.SessionID(other), object(session, field{"id", quote(auth.SessionID(other))}, field{"user_id", quote(bob)}))
	add := func(name, want string, bobs string) *item {
		c := v.add(name, want, s, u).header(both, host)
		c.Redis = append(c.Redis, another)
		if bobs != "" {
			c.Redis = append(c.Redis, value("user:"+bob, bobs))
		}
		return c
	}
	bobs := []field{{"id", quote(bob)}, {"username", `"bob"`}}
	c := add("two sessions in the header: the first counts", signedIn, object(account, bobs...))
	c.User.ID, c.User.Username = bob, "bob"
	add("two sessions in the header: the user of the first was disabled", signedIn, object(account, append(bobs, field{"active", "false"})...))
	add("two sessions in the header: the first is of an old epoch", signedIn, object(account, append(bobs, field{"epoch", "4"})...))
	add("two sessions in the header: the user of the first is not in the cache", notKnown, "")
}

// header turns the case into one of a raw Cookie header.
func (c *item) header(raw, name string) *item {
	c.Cookie, c.CookieHeader, c.CookieName = nil, []byte(raw), name
	return c
}

func byName(cases []*item) {
	m := make(map[string]*item)
	for _, c := range cases {
		m[c.Name] = c
	}
	for i, name := range sortedKeys(m) {
		cases[i] = m[name]
	}
}

func (v *vectors) damaged() {
	s, u := object(session), object(account)
	type bad struct{ name, value string }
	for _, b := range []bad{
		{"is cut", ""}, {"is no JSON", "session"}, {"is a list", "[]"}, {"is a list of a record", "[%s]"}, {"is null", "null"}, {"is a number", "1"}, {"is a string", `"x"`},
		{"is true", "true"}, {"is an empty object", "{}"}, {"has something after it", "%s x"}, {"is there twice", "%s%s"}, {"has single quotes", "'"},
		{"has a comma at its end", ","}, {"has a comment", "/* */%s"}, {"begins with a byte order mark", "\uFEFF%s"}, {"is not UTF-8", "\xff"}, {"is UTF-16", "16"},
		{"is base64", "64"}, {"is blank", " "},
	} {
		v.add("the session "+b.name, signedOut, damage(b.value, s), u)
		v.add("the user "+b.name, signedOut, s, damage(b.value, u))
	}
	v.add("the session has a lone surrogate in bytes", signedOut, strings.Replace(s, "Mozilla", "\xed\xa0\x80", 1), u)
	v.add("the session is longer than 8192 bytes", signedOut, object(session, field{"user_agent", quote(strings.Repeat("x", 8192))}), u)
	padded := s + strings.Repeat(" ", 8192-len(s))
	v.add("the session has just 8192 bytes", signedIn, padded, u)
	v.add("the session is a PHP value", signedOut, `a:1:{s:1:"v";i:1;}`, u)
	v.add("the session is a Python pickle", signedOut, "\x80\x04\x95\x08\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01v\x94K\x01s.", u)
	v.add("the session is a lease", signedOut, "lease:ABCDEFGHIJKLMNOPQRSTUVWXYZ", u)
}

func damage(how, whole string) string {
	switch how {
	case "":
		return whole[:len(whole)-1]
	case "'":
		return strings.ReplaceAll(whole, `"`, "'")
	case ",":
		return whole[:len(whole)-1] + ",}"
	case "\xff":
		return strings.Replace(whole, `":"`, "\":\"\xff", 1)
	case "16":
		var b bytes.Buffer
		for _, r := range []byte(whole) {
			b.Write([]byte{r, 0})
		}
		return b.String()
	case "64":
		return base64.StdEncoding.EncodeToString([]byte(whole))
	}
	return strings.ReplaceAll(how, "%s", whole)
}

// wrongNumbers are values that are not the number 3.
var wrongNumbers = map[string]string{
	"missing": "", "null": "null", "a string": `"3"`, "true": "true", "a list": "[3]", "an object": `{"3":3}`, "negative": "-3", "a fraction": "3.5",
	"another": "4", "smaller": "2", "too large": "9007199254740993", "too large for 64 bits": "18446744073709551619", "huge": "3e400",
}

func (v *vectors) sessionFields() {
	u := object(account)
	with := func(name, value string) string { return object(session, field{name, value}) }
	for _, name := range sortedKeys(wrongNumbers) {
		v.add("session: epoch is "+name, signedOut, with("epoch", wrongNumbers[name]), u)
	}
	v.add("session: both epochs are too large for a float", signedOut, with("epoch", "9007199254740993"), object(account, field{"epoch", "9007199254740992"}))
	for name, bad := range map[string]string{
		"missing": "", "null": "null", "0": "0", "2": "2", "a string": `"1"`, "true": "true", "a fraction": "1.5", "negative": "-1", "a list": "[1]",
	} {
		v.add("session: v is "+name, signedOut, with("v", bad), u)
	}
	other := auth.SessionID("A" + cookie[1:])
	for name, bad := range map[string]string{
		"missing": "", "null": "null", "empty": `""`, "another session's": quote(other), "true": "true", "the cookie's value": quote(cookie), "the key": quote("session:" + auth.SessionID(cookie)),
		"longer": quote(auth.SessionID(cookie) + "A"), "shorter": quote(auth.SessionID(cookie)[:42]), "in other case": quote(strings.ToLower(auth.SessionID(cookie))), "a list": "[" + quote(auth.SessionID(cookie)) + "]", "0": "0",
	} {
		v.add("session: id is "+name, signedOut, with("id", bad), u)
	}
	for name, bad := range map[string]string{"missing": "", "null": "null", "empty": `""`, "a number": "1", "true": "true", "a list": "[" + quote(alice) + "]"} {
		v.add("session: user_id is "+name, signedOut, with("user_id", bad), u)
	}
	v.add("session: user_id is somebody else's, whose record is alice's", signedOut, with("user_id", quote(bob)), "").Redis = []entry{
		value("session:"+auth.SessionID(cookie), with("user_id", quote(bob))), value("user:"+bob, u),
	}
	for name, bad := range map[string]string{
		"missing": "", "null": "null", "0": "0", "negative": "-7200", "a string": `"7200"`, "true": "true", "a fraction": "0.5", "over ten years": "315360001", "too large": "9223372036854775808",
	} {
		v.add("session: idle_seconds is "+name, signedOut, with("idle_seconds", bad), u)
	}
	for name, bad := range map[string]string{
		"missing": "", "null": "null", "empty": `""`, "a number": "1795248000", "true": "true", "a word": `"never"`, "a date": `"2026-11-21"`, "without a zone": `"2026-11-21T08:00:00"`,
		"with an offset": `"2026-11-21T08:00:00+00:00"`, "with a small z": `"2026-11-21T08:00:00z"`, "with a small t": `"2026-11-21t08:00:00Z"`, "with a space": `"2026-11-21 08:00:00Z"`, "without seconds": `"2026-11-21T08:00Z"`,
		"without hyphens": `"20261121T080000Z"`, "30 February": `"2027-02-30T08:00:00Z"`, "29 February of a short year": `"2027-02-29T08:00:00Z"`, "31 November": `"2027-11-31T08:00:00Z"`, "month 13": `"2026-13-01T08:00:00Z"`, "day 0": `"2027-01-00T08:00:00Z"`,
		"hour 24": `"2026-11-21T24:00:00Z"`, "minute 60": `"2026-11-21T08:60:00Z"`, "second 60": `"2026-11-21T08:59:60Z"`, "with a comma": `"2026-11-21T08:00:00,5Z"`, "with an empty fraction": `"2026-11-21T08:00:00.Z"`,
		"with a line feed": `"2026-11-21T08:00:00Z\n"`, "with a space before": `" 2026-11-21T08:00:00Z"`, "in Arabic digits": `"٢٠٢٦-١١-٢١T٠٨:٠٠:٠٠Z"`, "ten digits of fraction": `"2026-11-21T08:00:00.1234567891Z"`,
		"a year of five digits": `"12026-11-21T08:00:00Z"`, "with a sign": `"+2026-11-21T08:00:00Z"`, "a list": `["2026-11-21T08:00:00Z"]`, "an HTTP date": `"Sat, 21 Nov 2026 08:00:00 GMT"`,
	} {
		v.add("session: deadline is "+name, signedOut, with("deadline", bad), u)
	}
	v.sortFrom("session: ")
}

func (v *vectors) userFields() {
	s := object(session)
	with := func(name, value string) string { return object(account, field{name, value}) }
	for _, name := range sortedKeys(wrongNumbers) {
		v.add("user: epoch is "+name, signedOut, s, with("epoch", wrongNumbers[name]))
	}
	for name, bad := range map[string]string{"missing": "", "null": "null", "0": "0", "2": "2", "a string": `"1"`, "true": "true", "a fraction": "1.5"} {
		v.add("user: v is "+name, signedOut, s, with("v", bad))
	}
	for name, bad := range map[string]string{"missing": "", "null": "null", "empty": `""`, "somebody else's": quote(bob), "true": "true", "in other case": quote(strings.ToUpper(alice)), "a list": "[" + quote(alice) + "]"} {
		v.add("user: id is "+name, signedOut, s, with("id", bad))
	}
	for name, bad := range map[string]string{"missing": "", "null": "null", "false": "false", "1": "1", "a string": `"true"`, "a list": "[true]"} {
		v.add("user: active is "+name, signedOut, s, with("active", bad))
	}
	for name, bad := range map[string]string{"missing": "", "null": "null", "empty": `""`, "a number": "7", "true": "true", "a list": `["alice"]`} {
		v.add("user: username is "+name, signedOut, s, with("username", bad))
	}
	for _, list := range []string{"groups", "permissions"} {
		for name, bad := range map[string]string{"a string": `"staff users.view"`, "true": "true", "an object": `{"users.view":true}`, "a list of numbers": "[1]", "a list with null": `["staff",null]`, "a list of lists": `[["staff"]]`} {
			v.add("user: "+list+" is "+name, signedOut, s, with(list, bad))
		}
	}
	for _, text := range []string{"name", "email"} {
		for name, bad := range map[string]string{"a number": "7", "a list": "[]", "an object": "{}", "true": "true"} {
			v.add("user: "+text+" is "+name, signedOut, s, with(text, bad))
		}
	}
	v.sortFrom("user: ")
}

// sortFrom puts the cases at the end, whose names begin so, in order: they came from maps.
func (v *vectors) sortFrom(prefix string) {
	from := len(v.cases)
	for from > 0 && strings.HasPrefix(v.cases[from-1].Name, prefix) {
		from--
	}
	byName(v.cases[from:])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// encode writes the file, for people to read as well.
func encode(f file) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(f)
	return b.Bytes(), err
}

func main() {
	b, err := encode(all())
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
