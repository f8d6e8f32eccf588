package django

import (
	"bytes"
	"compress/zlib"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"gatehouse/auth"
	"strings"
	"testing"
	"time"
)

// djangoKey is the SECRET_KEY with which Django 3.2 made the values below at djangoSaved.
const djangoKey = "dj-sécret, with a comma [and] $igns"

var djangoSaved = time.Date(2026, 11, 20, 21, 55, 34, 0, time.UTC)

const (
	djangoPlain    = ".eJyrVopPLC3JiC8tTi2Kz0xRslIyV9JBFktKTM5OzQNJJKFKZCQWZwBFM5RqATQ5F3s:1xUWZy:jnmOpmm-nxeQsHZZWI9KfZLssZGYWXgQ23ZiPQ36e10"
	djangoLogin    = ".eJyrVopPLC3JiC8tTi2Kz0xRslIyMVLSQRZMSkzOTs0DyaRkJeal5-sl5-eVFGUm6YGU6EFli_V881NSc5ygalEMyEgszgDqTkyiDCrVAgD0PT7i:1xUWZy:Dbpqkr60DefeEDmM3Vr1Wt2nnLvVsdUT4xQio4tIXVY"
	djangoUnicode  = ".eJylkcEOgjAMhl-F9GyWFRCBo3efQAwZ2xDUjATYyfjuDsJBb_4xPTR_-7WX70m18nNX-8mOdW-opDSm3eewUfpu3bIxN-Wug9CDm8e-EQsitu0kToOxj-PGfj3o1NSFa9X8V-GpVuNM5ZkqL2Wr3dJsq9eUmTUVUeVNnoRgrJSRDEc_w4zAMQInCJwi8B6BMwQ-IHCOwAUkBVMIOWRIIkMWGdLIkEeGRDJkkiGVXNDl9QZ2t1T5:1xUWZy:xILCE_gCU9dyVCK4Wb8P3mitDqrAAALJobbY_wVIuo4"
	djangoOther    = ".eJyrVopPLC3JiC8tTi2Kz0xRslIyMVLSQRZMSkzOTs0DyaRkJeal5-sl5-eVFGUm6YGU6EFli_V881NSc5ygalEMyEgszgDqTkyiDCrVAgD0PT7i:1xUWZy:YqNTFgmnkc1be6TA6NEGg7GuZJ736-orPtPYTwBgAvc"
	djangoPickled  = ".eJxrYJ26gQECaqdo9PDGJ5aWZMSXFqcWxWemTOlhMjGa0iOEJJiUmJydmgeU0UzJSsxLz9dLzs8rKcpM0gMp0YPKFuv55qek5jjB1PIjGZCRWJwxpcchMYkyOKVUDwATuEZL:1xUWZy:X-0U4BVAWcLWqPc1Po-EXS0_8O4au6B7aowfUqYp4y4"
	djangoOldStyle = "ZWZjYmIwNWQ3NTU4MWM1YjJlYTg3MDhjMzc4YTEzMmNhNDVjNTU2ZDp7Il9hdXRoX3VzZXJfaWQiOiI0MiIsIl9hdXRoX3VzZXJfYmFja2VuZCI6ImRqYW5nby5jb250cmliLmF1dGguYmFja2VuZHMuTW9kZWxCYWNrZW5kIiwiX2F1dGhfdXNlcl9oYXNoIjoiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYiJ9"
)

const twoWeeks = 14 * 24 * time.Hour

func djangoKeys(t testing.TB, setting string) Keys {
	t.Helper()
	k, err := ParseKeys(setting)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signDjango is Django's TimestampSigner, written from its documentation and not from the code under test.
func signDjango(secret, salt, body string) string {
	key := sha256.Sum256([]byte(salt + "signer" + secret))
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(body))
	return body + ":" + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// djangoValue returns the value of a session with the JSON, saved at djangoSaved.
func djangoValue(text string) string {
	return signDjango(djangoKey, "django.contrib.sessions.SessionStore", base64.RawURLEncoding.EncodeToString([]byte(text))+":1xUWZy")
}

func compressedValue(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return signDjango(djangoKey, "django.contrib.sessions.SessionStore", "."+base64.RawURLEncoding.EncodeToString(b.Bytes())+":1xUWZy")
}

// djangoJSON returns the session data of a signed-in user, with more fields.
func djangoJSON(more string) string {
	return `{"_auth_user_id":"42","_auth_user_backend":"b","_auth_user_hash":"h"` + more + `}`
}

func TestRead_AcceptsDjangosValues(t *testing.T) {
	now := djangoSaved.Add(time.Hour)
	for name, c := range map[string]struct{ value, user string }{
		"short":            {djangoPlain, "7"},
		"sign-in":          {djangoLogin, "42"},
		"other characters": {djangoUnicode, "42"},
		"not compressed":   {djangoValue(djangoJSON("")), "42"},
		"compressed":       {compressedValue(djangoJSON(`,"cart":[1,2,3]`)), "42"},
		"escapes":          {djangoValue(strings.Replace(djangoJSON(""), `"42"`, `"\u0034\u0032"`, 1)), "42"},
	} {
		s, err := djangoKeys(t, djangoKey).Read([]byte(c.value), twoWeeks, now)
		if want := (Session{c.user, djangoSaved, djangoSaved.Add(twoWeeks)}); err != nil || s != want {
			t.Errorf("%s: got %+v, %v; want %+v", name, s, err, want)
		}
	}
}

func TestRead_RejectsEverythingElse(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		want  error
	}{
		"nothing":                 {"", errFormat},
		"pickled, signed":         {djangoPickled, errJSON},
		"pickled by a cache":      {"\x80\x05\x95\x0f\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x03_id\x94\x8c\x0242\x94s.", errFormat},
		"pickled as text":         {djangoValue("(dp0\nS'_auth_user_id'\np1\nS'42'\np2\ns."), errJSON},
		"before Django 3.1":       {djangoOldStyle, errFormat},
		"another store's":         {djangoOther, errSignature},
		"another key's":           {signDjango("x", "django.contrib.sessions.SessionStore", strings.TrimSuffix(djangoLogin, djangoLogin[len(djangoLogin)-44:])), errSignature},
		"no timestamp":            {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e30"), errFormat},
		"no payload":              {signDjango(djangoKey, "django.contrib.sessions.SessionStore", ":1xUWZy"), errJSON},
		"empty timestamp":         {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e30:"), errTime},
		"invalid timestamp":       {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e30:1xU-Zy"), errTime},
		"negative timestamp":      {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e30:-1"), errTime},
		"timestamp overflows":     {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e30:zzzzzzzzzzz"), errTime},
		"timestamp out of range":  {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e30:zzzzzzzzzz"), errTime},
		"timestamp in the future": {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e30:1xUZZy"), errTime},
		"not base64":              {signDjango(djangoKey, "django.contrib.sessions.SessionStore", "e3*0:1xUWZy"), errFormat},
		"invalid compression":     {signDjango(djangoKey, "django.contrib.sessions.SessionStore", ".e30:1xUWZy"), errCompressed},
		"decompression bomb":      {compressedValue(djangoJSON(`,"x":"` + strings.Repeat("x", 10<<20) + `"`)), errCompressed},
		"too long":                {djangoValue(djangoJSON(`,"x":"` + strings.Repeat("x", 64<<10) + `"`)), errFormat},
		"not UTF-8":               {djangoValue(djangoJSON(",\"x\":\"\xff\"")), errJSON},
		"a list":                  {djangoValue("[]"), errJSON},
		"null":                    {djangoValue("null"), errSignedOut},
		"two objects":             {djangoValue(djangoJSON("") + "{}"), errJSON},
		"anonymous visitor":       {djangoValue("{}"), errSignedOut},
		"a number for a user":     {djangoValue(strings.Replace(djangoJSON(""), `"42"`, "42", 1)), errSignedOut},
		"an empty user":           {djangoValue(strings.Replace(djangoJSON(""), `"42"`, `""`, 1)), errSignedOut},
		"no backend":              {djangoValue(strings.Replace(djangoJSON(""), "backend", "x", 1)), errSignedOut},
		"no hash":                 {djangoValue(strings.Replace(djangoJSON(""), "hash", "x", 1)), errSignedOut},
		"names in capitals":       {djangoValue(strings.ToUpper(djangoJSON(""))), errSignedOut},
		"invalid expiry":          {djangoValue(djangoJSON(`,"_session_expiry":"tomorrow"`)), errTime},
		"negative expiry":         {djangoValue(djangoJSON(`,"_session_expiry":-1`)), errTime},
		"expiry out of range":     {djangoValue(djangoJSON(`,"_session_expiry":1e300`)), errTime},
		"boolean expiry":          {djangoValue(djangoJSON(`,"_session_expiry":true`)), errTime},
	} {
		s, err := djangoKeys(t, djangoKey).Read([]byte(c.value), twoWeeks, djangoSaved.Add(time.Hour))
		if !errors.Is(err, c.want) || s != (Session{}) {
			t.Errorf("%s: got %+v, %v; want %v", name, s, err, c.want)
		}
	}
}

func TestRead_RejectsAChangeOfAnyByte(t *testing.T) {
	k := djangoKeys(t, djangoKey)
	for i := range djangoLogin {
		for _, other := range []byte{djangoLogin[i] ^ 1, 'A', ':', '.', 0} {
			if other == djangoLogin[i] {
				continue
			}
			value := []byte(djangoLogin)
			value[i] = other
			if s, err := k.Read(value, twoWeeks, djangoSaved); err == nil || s != (Session{}) {
				t.Errorf("byte %d as %q: got %+v, %v; want an error", i, other, s, err)
			}
		}
	}
	for _, value := range []string{djangoLogin + "=", djangoLogin + "\n", " " + djangoLogin, djangoLogin[1:], djangoLogin[:len(djangoLogin)-1], djangoLogin + ":" + djangoLogin} {
		if _, err := k.Read([]byte(value), twoWeeks, djangoSaved); err == nil {
			t.Errorf("%q is accepted", value)
		}
	}
}

func TestRead_RejectsExpiredSessions(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		expiry string
		want   time.Duration // from djangoSaved
	}{
		"default age":             {"", twoWeeks},
		"null":                    {`,"_session_expiry":null`, twoWeeks},
		"browser session":         {`,"_session_expiry":0`, twoWeeks},
		"in seconds":              {`,"_session_expiry":300`, 300 * second},
		"longer than the default": {`,"_session_expiry":2592000`, 2592000 * second},
		"at a time":               {`,"_session_expiry":"2026-11-20T23:55:34.500000+02:00"`, 500 * time.Millisecond},
		"at a time in UTC":        {`,"_session_expiry":"2026-11-20T21:56:34+00:00"`, 60 * second},
		"at a local time":         {`,"_session_expiry":"2026-11-20T21:56:34"`, 60*second + 12*time.Hour},
	} {
		k, value := djangoKeys(t, djangoKey), []byte(djangoValue(djangoJSON(c.expiry)))
		s, err := k.Read(value, twoWeeks, djangoSaved.Add(c.want-1))
		if err != nil || !s.ExpiresAt.Equal(djangoSaved.Add(c.want)) {
			t.Errorf("%s: got the expiry %v, %v; want %v", name, s.ExpiresAt, err, djangoSaved.Add(c.want))
		}
		if s, err := k.Read(value, twoWeeks, djangoSaved.Add(c.want)); !errors.Is(err, errExpired) || s != (Session{}) {
			t.Errorf("%s: at its expiry: got %+v, %v; want an error", name, s, err)
		}
	}
}

func TestParseKeys_AcceptsOneOrAList(t *testing.T) {
	list, err := json.Marshal([]string{"new", djangoKey, "[odd"})
	if err != nil {
		t.Fatal(err)
	}
	for setting, good := range map[string]bool{
		djangoKey:                  true,
		string(list):               true,
		`["` + djangoKey + `"]`:    true,
		"another":                  false,
		djangoKey + " ":            false,
		djangoKey + "," + "x":      false,
		`["new", "another", "[a"]`: false,
	} {
		if _, err := djangoKeys(t, setting).Read([]byte(djangoLogin), twoWeeks, djangoSaved); (err == nil) != good {
			t.Errorf("with the keys %q: got %v, want success: %v", setting, err, good)
		}
	}
	for setting, want := range map[string]string{
		"":                       "key 1 is empty",
		`["hunter2",""]`:         "key 2 is empty",
		"[]":                     "no key",
		"['hunter2', 'hunter3']": "JSON list",
		"[hunter2":               "JSON list",
		`["hunter2", 3]`:         "JSON list",
	} {
		if k, err := ParseKeys(setting); err == nil || len(k.keys) != 0 || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want an error with %q", setting, err, want)
		}
	}
}

func TestIsSessionKey_ChecksTheForm(t *testing.T) {
	good := "abcdefghijklmnopqrstuvwxyz012345"
	for s, want := range map[string]bool{
		good: true, "": false, good[1:]: false, good + "6": false, "A" + good[1:]: false, "-" + good[1:]: false, good[:31] + "\n": false, "é" + good[2:]: false, "*" + good[1:]: false,
	} {
		if got := (*Bridge)(nil).IsSessionKey(s); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
	if id := SessionID(good); len(id) != 43 || id == auth.SessionID(good) || strings.Contains(id, good) {
		t.Errorf("got the id %q, which is malformed or reveals the key", id)
	}
}

func FuzzRead(f *testing.F) {
	k := djangoKeys(f, djangoKey)
	for _, s := range []string{djangoLogin, djangoPickled, djangoUnicode, djangoValue(djangoJSON(`,"_session_expiry":"2026-11-20T21:56:34"`)), ":", "e30:1xUWZy:", "." + ":1:"} {
		f.Add([]byte(s))
	}
	now := djangoSaved.Add(time.Minute)
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := k.Read(value, twoWeeks, now)
		if err != nil && s != (Session{}) {
			t.Errorf("%q: got %+v and %v, want no session with an error", value, s, err)
		}
		// A validly signed body can hold anything.
		body := value
		if end := bytes.LastIndexByte(value, ':'); end >= 0 {
			body = value[:end]
		}
		s, err = k.Read([]byte(signDjango(djangoKey, "django.contrib.sessions.SessionStore", string(body))), twoWeeks, now)
		if err != nil {
			if s != (Session{}) {
				t.Errorf("%q, signed: got %+v and %v, want no session with an error", body, s, err)
			}
			return
		}
		if s.UserID == "" || !now.Before(s.ExpiresAt) || s.SavedAt.After(now.Add(maxClockSkew)) {
			t.Errorf("%q, signed: got %+v, want a live session of a user", body, s)
		}
	})
}
