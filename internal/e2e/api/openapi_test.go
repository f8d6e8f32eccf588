package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/uuid"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/handlers"
	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
	"gatehouse/web"
	"gatehouse/web/problem"
)

// TestOpenAPI_DescribesEveryRoute: the description has exactly the routes of the server, with their methods of
// authentication.
func TestOpenAPI_DescribesEveryRoute(t *testing.T) {
	t.Parallel()
	d := newDescription(t)
	var served []string
	for _, r := range (&handlers.Handlers{}).Routes() {
		if !strings.HasPrefix(r.Path, "/api/") {
			continue
		}
		key := r.Method + " " + strings.ReplaceAll(r.Path, ":id", "{id}")
		served = append(served, key)
		operation := d.operation(key)
		if operation == nil {
			continue // tested below
		}
		security := d.doc.Security
		if operation.Security != nil {
			security = *operation.Security
		}
		// {} among several requirements makes authentication optional.
		optional := slices.ContainsFunc(security, func(s openapi3.SecurityRequirement) bool { return len(s) == 0 })
		var access string
		switch {
		case len(security) == 0:
			access = web.Unauthenticated.String()
		case optional:
			access = web.OptionalAPI.String()
		default:
			access = web.API.String()
		}
		if rule, _, _ := strings.Cut(r.Access.String(), " with "); rule != access {
			t.Errorf("%s has the access rule %q but is described as %q", key, rule, access)
		}
	}
	slices.Sort(served)
	if described := d.operations(); !slices.Equal(described, served) {
		t.Errorf("the description has\n%s\nthe server has\n%s", strings.Join(described, "\n"), strings.Join(served, "\n"))
	}
}

// TestOpenAPI_ResponsesMatchTheDescription calls every operation with valid and invalid requests. Each response must
// match the description, and each described response must occur.
func TestOpenAPI_ResponsesMatchTheDescription(t *testing.T) {
	t.Parallel()
	a := newAPITest(t)
	// Its body never arrives: the server responds after its read timeout, which passes in the meantime.
	pending := a.HoldHalf(http.MethodPost, "/api/tokens", "Authorization: "+kit.BasicHeader("john_doe", kit.Password), "application/json", `{"name":"late"}`)
	t.Run("description", a.describesItself)
	t.Run("refused", func(t *testing.T) {
		for _, key := range a.operations() {
			if key != describe {
				a.refused(t, key)
			}
		}
	})
	t.Run("time and me", a.selfWorks)
	t.Run("tokens", a.tokensWork)
	t.Run("users", a.usersWork)
	t.Run("maintenance", a.maintenance)
	t.Run("outages", a.outages)
	t.Run("unknown routes", a.elsewhere)
	t.Run("a body that never arrives", func(t *testing.T) {
		if err := pending.Conn.SetDeadline(time.Now().Add(kit.WaitTimeout + 20*time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := kit.ReadResponse(pending.Reader)
		if err != nil {
			t.Fatal(err)
		}
		got.Request = a.admin.NewRequest(http.MethodPost, "/api/tokens", "")
		a.wantDescribed(t, createToken, http.StatusRequestTimeout, got)
	})

	if unseen := a.unseen(); !t.Failed() && len(unseen) > 0 {
		t.Errorf("described, but never seen:\n%s", strings.Join(unseen, "\n"))
	}
	if cookies := a.admin.HTTP.Jar.Cookies(a.admin.NewRequest("GET", "/", "").URL); len(cookies) != 0 {
		t.Errorf("a program got cookies: %v", cookies)
	}
}

// TestOpenAPI_CheckNoticesDeviations: the check of the other tests fails for responses that deviate.
func TestOpenAPI_CheckNoticesDeviations(t *testing.T) {
	t.Parallel()
	d := newDescription(t)
	good := func(kind, body string, status int, header ...string) kit.Response {
		h := http.Header{"Content-Type": {kind}, "X-Request-Id": {"x"}}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return kit.Response{Response: &http.Response{StatusCode: status, Header: h, Request: kit.NewClient(t, "http://localhost").NewRequest("GET", "/api/time", "")}, Text: body}
	}
	const (
		user   = `"user":{"id":"0199f3c2-8f5b-7d3e-9c41-5a8d7e6f2b10","username":"john_doe","name":""}`
		now    = `{"time":"2026-10-18T14:03:07.5Z","timezone":"UTC",` + user + `,"authorized_by":"redis"}`
		denied = `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"No.","code":"token_dead","request_id":"x"}`
	)
	const key, challenge = "GET /api/time", `Bearer realm="Gatehouse"`
	for _, ok := range []kit.Response{
		good("application/json", now, 200),
		good("application/problem+json", denied, 401, "WWW-Authenticate", challenge),
	} {
		if err := d.check(key, ok); err != nil {
			t.Fatalf("%s: %v", ok.Text, err)
		}
	}
	for name, bad := range map[string]kit.Response{
		"an extra field":             good("application/json", strings.Replace(now, "{", `{"extra":1,`, 1), 200),
		"a nested extra field":       good("application/json", strings.Replace(now, `"user":{`, `"user":{"email":"",`, 1), 200),
		"a missing field":            good("application/json", strings.Replace(now, `"timezone":"UTC",`, "", 1), 200),
		"an invalid time":            good("application/json", strings.Replace(now, "2026-10-18T", "2026-10-18 ", 1), 200),
		"a time in another zone":     good("application/json", strings.Replace(now, "7.5Z", "7.5+02:00", 1), 200),
		"an invalid id":              good("application/json", strings.Replace(now, "0199f3c2", "0199", 1), 200),
		"a null":                     good("application/json", strings.Replace(now, `"name":""`, `"name":null`, 1), 200),
		"a value of another type":    good("application/json", strings.Replace(now, "redis", "memory", 1), 200),
		"another content type":       good("text/plain", now, 200),
		"no JSON":                    good("application/json", now+"}", 200),
		"another status":             good("application/json", now, 203),
		"a problem without its code": good("application/problem+json", strings.Replace(denied, `"code":"token_dead",`, "", 1), 401, "WWW-Authenticate", challenge),
		"an unknown code":            good("application/problem+json", strings.Replace(denied, "token_dead", "token_old", 1), 401, "WWW-Authenticate", challenge),
		"a code of another status":   good("application/problem+json", strings.Replace(denied, "token_dead", "throttled", 1), 401, "WWW-Authenticate", challenge),
		"an extra field in an error": good("application/problem+json", strings.Replace(denied, "{", `{"extra":1,`, 1), 401, "WWW-Authenticate", challenge),
		"another status inside":      good("application/problem+json", strings.Replace(denied, "401", "403", 1), 401, "WWW-Authenticate", challenge),
		"another request inside":     good("application/problem+json", strings.Replace(denied, `:"x"`, `:"y"`, 1), 401, "WWW-Authenticate", challenge),
		"no challenge":               good("application/problem+json", denied, 401),
		"a missing header":           good("application/json", now, 200, "Retry-After", "5"),
		"a cookie":                   good("application/json", now, 200, "Set-Cookie", "gatehouse=x"),
	} {
		if d.check(key, bad) == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// describe is the one operation without authentication.
const describe = "GET /api/openapi.json"

// description is docs/openapi.json, made strict: properties that it does not name are errors.
type description struct {
	t    testing.TB
	doc  *openapi3.T
	seen map[string]bool // "GET /api/time 401 token_dead"
}

func newDescription(t testing.TB) *description {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(content, &tree); err != nil {
		t.Fatal(err)
	}
	closeObjects(tree)
	if content, err = json.Marshal(tree); err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(content)
	if err != nil {
		t.Fatalf("docs/openapi.json: %v", err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation()); err != nil {
		t.Fatalf("docs/openapi.json: %v", err)
	}
	return &description{t: t, doc: doc, seen: map[string]bool{}}
}

// closeObjects forbids properties that the schema of an object does not name, unless it allows them. Clients ignore
// unknown properties, but the server must not send undocumented ones.
func closeObjects(node any) {
	switch v := node.(type) {
	case []any:
		for _, child := range v {
			closeObjects(child)
		}
	case map[string]any:
		_, named := v["properties"].(map[string]any)
		if _, said := v["additionalProperties"]; named && v["type"] == "object" && !said {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			closeObjects(child)
		}
	}
}

// operation returns the operation described under a key such as "GET /api/time", or nil.
func (d *description) operation(key string) *openapi3.Operation {
	method, path, _ := strings.Cut(key, " ")
	item := d.doc.Paths.Value(path)
	if item == nil {
		return nil
	}
	return item.GetOperation(method)
}

func (d *description) route(key string) *routers.Route {
	method, path, _ := strings.Cut(key, " ")
	return &routers.Route{Spec: d.doc, Path: path, PathItem: d.doc.Paths.Value(path), Method: method, Operation: d.operation(key)}
}

func (d *description) operations() []string {
	var keys []string
	for path, item := range d.doc.Paths.Map() {
		for method := range item.Operations() {
			keys = append(keys, method+" "+path)
		}
	}
	slices.Sort(keys)
	return keys
}

// check returns how a response deviates from the description.
func (d *description) check(key string, a kit.Response) error {
	operation := d.operation(key)
	if operation == nil {
		return errors.New("the operation is not described")
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: a.Request, Route: d.route(key)},
		Status:                 a.StatusCode,
		Header:                 a.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, SchemaValidationOptions: []openapi3.SchemaValidationOption{
			openapi3.WithStringFormatValidator("uuid", openapi3.NewCallbackValidator(uuid.Validate)), // the library knows only the name
		}},
	}
	input.SetBodyBytes([]byte(a.Text))
	if err := openapi3filter.ValidateResponse(d.t.Context(), input); err != nil {
		return err
	}
	described := operation.Responses.Status(a.StatusCode).Value
	// The library reads only the first value.
	if len(described.Content) > 0 && !json.Valid([]byte(a.Text)) {
		return errors.New("the body is not JSON")
	}
	if len(described.Content) == 0 && (a.Text != "" || a.Header.Get("Content-Type") != "") {
		return fmt.Errorf("a body of type %q where none is described", a.Header.Get("Content-Type"))
	}
	for _, name := range []string{"WWW-Authenticate", "Retry-After", "Location", "Allow"} {
		if a.Header.Get(name) != "" && described.Headers[name] == nil {
			return fmt.Errorf("the undocumented header %s", name)
		}
	}
	if len(a.Cookies()) > 0 {
		return fmt.Errorf("cookies: %v", a.Cookies())
	}
	seen := fmt.Sprint(key, " ", a.StatusCode)
	if a.StatusCode >= 400 {
		p := problemOf(d.t, a)
		if p.Status != a.StatusCode || p.RequestID != a.Header.Get("X-Request-Id") {
			return fmt.Errorf("a problem with the status %d and the request id %q", p.Status, p.RequestID)
		}
		seen += " " + p.Code.String()
	}
	d.seen[seen] = true
	return nil
}

// unseen lists the described responses that have not occurred so far.
func (d *description) unseen() []string {
	var unseen []string
	for _, key := range d.operations() {
		for status, response := range d.operation(key).Responses.Map() {
			for _, code := range codesOf(response.Value) {
				if seen := strings.TrimSpace(key + " " + status + " " + code); !d.seen[seen] {
					unseen = append(unseen, seen)
				}
			}
		}
	}
	slices.Sort(unseen)
	return unseen
}

// codesOf returns the codes that a problem may have, or only "" for any other response.
func codesOf(response *openapi3.Response) []string {
	media := response.Content["application/problem+json"]
	if media == nil {
		return []string{""}
	}
	var codes []string
	for _, part := range media.Schema.Value.AllOf {
		if part.Ref != "" {
			continue
		}
		for _, code := range part.Value.Properties["code"].Value.Enum {
			codes = append(codes, code.(string))
		}
	}
	return codes
}

// matches returns how a value deviates from its schema.
func matches(schema *openapi3.Schema, v any) error {
	return schema.VisitJSON(v, openapi3.EnableJSONSchema2020())
}

func problemOf(t testing.TB, a kit.Response) problem.Document {
	t.Helper()
	var p problem.Document
	if err := json.Unmarshal([]byte(a.Text), &p); err != nil {
		t.Fatalf("%s %s: %s is not a problem: %v\n%s", a.Request.Method, a.Request.URL.Path, a.Status, err, a.Text)
	}
	return p
}

// apiTest is a site with a few users and their tokens.
type apiTest struct {
	*kit.Target
	*description
	redis *testkit.Redis
	admin *kit.Client // which must not receive cookies
	// session is the Cookie header of a signed-in user.
	session string
	// Tokens of john_doe and of root, who has permission to list users.
	token, rootToken string
	dead, disabled   string
}

func newAPITest(t *testing.T) *apiTest {
	t.Helper()
	r := testkit.StartRedis(t)
	x := &kit.Target{Site: &kit.Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: r.URL()}}
	x.Server = x.Serve()
	x.Sessions, x.DB = kit.DialRedis(t, x.RedisURL), kit.OpenDB(t, "postgres", x.DatabaseURL)
	a := &apiTest{Target: x, description: newDescription(t), redis: r, admin: x.NewClient()}
	for name, group := range map[string]string{"john_doe": "", "root": "admin", "changes": "", "leaves": ""} {
		args := []string{"user", "add", name, "--password-stdin"}
		if group != "" {
			args = append(args, "--group", group)
		}
		a.Run(kit.Password+"\n", args...).WantCode(t, 0)
	}
	browser := x.NewClient()
	browser.Register("browses")
	a.session = browser.SessionCookieHeader()
	a.token, a.rootToken = a.newToken(t, "john_doe"), a.newToken(t, "root")
	a.dead, a.disabled = a.newToken(t, "changes"), a.newToken(t, "leaves")
	a.Run(kit.OtherPassword+"\n", "user", "passwd", "changes", "--password-stdin").WantCode(t, 0)
	a.Run("", "user", "disable", "leaves").WantCode(t, 0)
	// As if after many wrong passwords; other tests cover the limit itself.
	a.Do("HSET", kit.ThrottleKey("waits"), "n", 50, "until", time.Now().Add(10*time.Minute).UnixMilli())
	a.Do("PEXPIRE", kit.ThrottleKey("waits"), time.Hour.Milliseconds())
	return a
}

// newToken creates a token as a program does.
func (a *apiTest) newToken(t testing.TB, username string) string {
	t.Helper()
	return a.want(t, createToken, http.StatusCreated, "", "Authorization", kit.BasicHeader(username, kit.Password))["token"].(string)
}

const (
	createToken   = "POST /api/tokens"
	listTokens    = "GET /api/tokens"
	revokeToken   = "DELETE /api/tokens/{id}"
	revokeCurrent = "DELETE /api/tokens/current"
	listUsers     = "GET /api/users"
)

// call calls an operation; header lists name, value, name, value…, and a repeated name adds a second header.
func (a *apiTest) call(t testing.TB, key, body string, header ...string) kit.Response {
	t.Helper()
	method, path, _ := strings.Cut(key, " ")
	req := a.admin.NewRequest(method, strings.Replace(path, "{id}", uuid.Must(uuid.NewV7()).String(), 1), body)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Content-Type" {
			req.Header.Del("Content-Type")
		}
		req.Header.Add(header[i], header[i+1])
	}
	return a.admin.Do(req)
}

// want calls an operation and fails unless the response has this status and matches the description. It returns the
// body, if any.
func (a *apiTest) want(t testing.TB, key string, status int, body string, header ...string) map[string]any {
	t.Helper()
	got := a.call(t, key, body, header...)
	a.wantDescribed(t, key, status, got)
	if got.Text == "" {
		return nil
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(got.Text), &v); err != nil {
		t.Fatalf("%s: %v\n%s", key, err, got.Text)
	}
	return v
}

func (a *apiTest) wantDescribed(t testing.TB, key string, status int, got kit.Response) {
	t.Helper()
	// The query after the path is not part of the operation's key.
	key, _, _ = strings.Cut(key, "?")
	if a.operation(key) == nil {
		if method, path, _ := strings.Cut(key, " "); strings.HasPrefix(path, "/api/tokens/") {
			key = method + " /api/tokens/{id}"
		}
	}
	if got.StatusCode != status {
		t.Fatalf("%s: %s, want %d\n%s", key, got.Status, status, got.Text)
	}
	if err := a.check(key, got); err != nil {
		t.Errorf("%s: %s deviates from the description: %v\n%s", key, got.Status, err, got.Text)
	}
	if status < 300 && got.Request.Header.Get("Content-Type") != "text/plain" {
		a.wantRequestDescribed(t, key, got.Request)
	}
}

// wantRequestDescribed fails if the server accepted a request that deviates from the description.
func (a *apiTest) wantRequestDescribed(t testing.TB, key string, sent *http.Request) {
	t.Helper()
	req := sent.Clone(t.Context())
	if sent.GetBody != nil {
		var err error
		if req.Body, err = sent.GetBody(); err != nil {
			t.Fatal(err)
		}
	}
	input := &openapi3filter.RequestValidationInput{
		Request:     req,
		PathParams:  map[string]string{"id": req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]},
		QueryParams: req.URL.Query(),
		Route:       a.route(key),
		Options:     &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}
	if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
		t.Errorf("%s: an accepted request deviates from the description: %v", key, err)
	}
}

// wantProblem calls an operation and fails unless the response is a problem with this code that matches the description.
func (a *apiTest) wantProblem(t testing.TB, key string, status int, code, body string, header ...string) problem.Document {
	t.Helper()
	got := a.call(t, key, body, header...)
	a.wantDescribed(t, key, status, got)
	p := problemOf(t, got)
	if p.Code.String() != code {
		t.Errorf("%s: got the code %s, want %s\n%s", key, p.Code, code, got.Text)
	}
	return p
}

// describesItself checks that the served document is docs/openapi.json.
func (a *apiTest) describesItself(t *testing.T) {
	got := a.call(t, describe, "")
	a.wantDescribed(t, describe, http.StatusOK, got)
	file, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Text != string(file) {
		t.Error("the served document differs from docs/openapi.json")
	}
}

// refused checks that an operation refuses missing and invalid credentials.
func (a *apiTest) refused(t *testing.T, key string) {
	t.Helper()
	body := ""
	if key == createToken {
		body = `{"name":"never"}`
	}
	for _, c := range []struct {
		status int
		code   string
		header []string
	}{
		{401, "credentials_needed", nil},
		{401, "credentials_needed", []string{"Cookie", kit.SessionCookie + "=" + strings.Repeat("A", 43)}},
		{401, "unknown_scheme", []string{"Authorization", "Negotiate YII="}},
		{401, "wrong_credentials", []string{"Authorization", kit.BasicHeader("nobody", kit.Password)}},
		{401, "wrong_credentials", []string{"Authorization", kit.BasicHeader("leaves", kit.Password)}},
		{401, "wrong_credentials", []string{"Authorization", kit.BasicHeader("nobody", kit.Password), "Cookie", a.session}},
		{401, "token_malformed", []string{"Authorization", "Bearer gatehouse_none"}},
		{401, "token_unknown", []string{"Authorization", "Bearer " + auth.NewTokenSecret()}},
		{401, "token_dead", []string{"Authorization", "Bearer " + a.dead}},
		{401, "user_disabled", []string{"Authorization", "Bearer " + a.disabled}},
		{400, "malformed_basic", []string{"Authorization", "Basic %"}},
		{400, "several_credentials", []string{"Authorization", "Bearer " + a.token, "Authorization", kit.BasicHeader("john_doe", kit.Password)}},
		{429, "throttled", []string{"Authorization", kit.BasicHeader("waits", kit.Password)}},
	} {
		a.wantProblem(t, key, c.status, c.code, body, c.header...)
		a.Do("DEL", kit.ThrottleKey("nobody"), kit.ThrottleKey("leaves"))
	}
	if method, _, _ := strings.Cut(key, " "); method != http.MethodGet {
		a.wantProblem(t, key, 403, "forbidden", body, "Cookie", a.session, "Sec-Fetch-Site", "cross-site")
		a.wantProblem(t, key, 403, "forbidden", body, "Cookie", a.session, "Origin", "http://elsewhere.example")
	}
	a.challenges(t, key, body)
}

// challenges checks that every client learns how to authenticate, but scripts in browsers get no challenge that opens
// the browser's password dialog.
func (a *apiTest) challenges(t *testing.T, key, body string) {
	t.Helper()
	const basic, bearer = `Basic realm="Gatehouse", charset="UTF-8"`, `Bearer realm="Gatehouse"`
	for _, c := range []struct {
		header, want []string
	}{
		{nil, []string{basic, bearer}},
		{[]string{"Sec-Fetch-Mode", "navigate"}, []string{basic, bearer}},
		{[]string{"Sec-Fetch-Mode", "cors"}, []string{bearer}},
		{[]string{"Authorization", "Bearer x"}, []string{basic, bearer + `, error="invalid_token"`}},
	} {
		got := a.call(t, key, body, c.header...)
		if challenges := got.Header.Values("WWW-Authenticate"); got.StatusCode != 401 || !slices.Equal(challenges, c.want) {
			t.Errorf("%s with %v: %s and the challenges %q, want 401 and %q", key, c.header, got.Status, challenges, c.want)
		}
	}
}

// selfWorks checks that /api/time and /api/me accept every method of authentication.
func (a *apiTest) selfWorks(t *testing.T) {
	for _, c := range []struct{ name, value, username, method string }{
		{"Authorization", kit.BasicHeader("john_doe", kit.Password), "john_doe", "basic"},
		{"Authorization", strings.Replace(kit.BasicHeader(" JOHN_DOE", kit.Password), "Basic", "bASIC", 1), "john_doe", "basic"},
		{"Authorization", "Bearer " + a.token, "john_doe", "token"},
		{"Authorization", "Token " + a.token, "john_doe", "token"},
		{"Authorization", "bearer  " + a.token, "john_doe", "token"},
		{"Cookie", a.session, "browses", "session"},
	} {
		before := time.Now().Add(-time.Second)
		now := a.want(t, "GET /api/time", 200, "", c.name, c.value)
		at, err := time.Parse(time.RFC3339Nano, now["time"].(string))
		if err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("got the time %v (%v), requested at %v", now["time"], err, before)
		}
		me := a.want(t, "GET /api/me", 200, "", c.name, c.value)
		if me["method"] != c.method || me["user"].(map[string]any)["username"] != c.username || now["user"].(map[string]any)["username"] != c.username {
			t.Errorf("with %s: the time is for %v, /api/me is %v; want %s by %s", c.value, now["user"], me, c.username, c.method)
		}
	}
	both := a.want(t, "GET /api/me", 200, "", "Authorization", "Bearer "+a.token, "Cookie", a.session)
	if both["method"] != "token" {
		t.Errorf("with a token and a session the method is %v, want token", both["method"])
	}
	root := a.want(t, "GET /api/me", 200, "", "Authorization", "Bearer "+a.rootToken)
	if fmt.Sprint(root["groups"], root["permissions"]) != "[admin] [users.manage users.view]" {
		t.Errorf("root has the groups %v and the permissions %v", root["groups"], root["permissions"])
	}
}

func (a *apiTest) tokensWork(t *testing.T) {
	john := []string{"Authorization", kit.BasicHeader("john_doe", kit.Password)}
	t.Run("created", a.tokensAreCreated)
	t.Run("not created", a.tokensAreNotCreated)
	t.Run("revoked", func(t *testing.T) {
		a.wantProblem(t, revokeCurrent, 400, "no_current_token", "", john...)
		a.wantProblem(t, revokeCurrent, 400, "no_current_token", "", "Cookie", a.session)
		a.wantProblem(t, revokeToken, 404, "not_found", "", john...)
		a.wantProblem(t, "DELETE /api/tokens/none", 404, "not_found", "", john...)

		mine := a.want(t, createToken, 201, "", john...)
		a.wantProblem(t, "DELETE /api/tokens/"+mine["id"].(string), 404, "not_found", "", "Authorization", "Bearer "+a.rootToken)
		a.want(t, "DELETE /api/tokens/"+mine["id"].(string), 204, "", john...)
		a.wantProblem(t, "DELETE /api/tokens/"+mine["id"].(string), 404, "not_found", "", john...)
		a.wantProblem(t, "GET /api/time", 401, "token_unknown", "", "Authorization", "Bearer "+mine["token"].(string))

		bearer := "Bearer " + a.newToken(t, "john_doe")
		a.want(t, revokeCurrent, 204, "", "Authorization", bearer)
		a.wantProblem(t, revokeCurrent, 401, "token_unknown", "", "Authorization", bearer)

		a.Run("", "user", "enable", "leaves").WantCode(t, 0)
		testkit.Eventually(t, 5*time.Second, "the enabled user", func() bool {
			return problemOf(t, a.call(t, "GET /api/time", "", "Authorization", "Bearer "+a.disabled)).Code.String() == "token_dead"
		})
	})
	t.Run("too many", func(t *testing.T) {
		a.Run(kit.Password+"\n", "user", "add", "collects", "--password-stdin").WantCode(t, 0)
		collector := []string{"Authorization", kit.BasicHeader("collects", kit.Password)}
		for range auth.MaxTokens {
			a.want(t, createToken, 201, "", collector...)
		}
		a.wantProblem(t, createToken, 422, "too_many_tokens", "", collector...)
		list := a.want(t, listTokens, 200, "", collector...)["tokens"].([]any)
		if len(list) != auth.MaxTokens {
			t.Fatalf("%d tokens are listed, want %d", len(list), auth.MaxTokens)
		}
		if !slices.IsSortedFunc(list, func(x, y any) int {
			return strings.Compare(y.(map[string]any)["created_at"].(string), x.(map[string]any)["created_at"].(string))
		}) {
			t.Error("the tokens are not listed newest first")
		}
		a.want(t, "DELETE /api/tokens/"+list[0].(map[string]any)["id"].(string), 204, "", collector...)
		a.want(t, createToken, 201, "", collector...)
	})
}

// tokensAreCreated checks that clients with a password or a session get the tokens that they request.
func (a *apiTest) tokensAreCreated(t *testing.T) {
	john, root := kit.BasicHeader("john_doe", kit.Password), kit.BasicHeader("root", kit.Password)
	for _, c := range []struct {
		body, name string
		life       time.Duration
		narrowed   string
		header     []string
	}{
		{"", "API", 72 * time.Hour, "<nil>", []string{"Authorization", john}},
		{"", "API", 72 * time.Hour, "<nil>", []string{"Cookie", a.session}},
		{`{}`, "API", 72 * time.Hour, "<nil>", []string{"Authorization", john, "Content-Type", "application/json; charset=utf-8"}},
		{`{"name":" nightly  Ω "}`, "nightly Ω", 72 * time.Hour, "<nil>", []string{"Cookie", a.session}},
		{`{"expires_in":60,"permissions":null}`, "API", time.Minute, "<nil>", []string{"Authorization", john}},
		{`{"expires_in":31622400,"permissions":[]}`, "API", 366 * 24 * time.Hour, "[]", []string{"Authorization", root}},
		{`{"permissions":["users.view","users.view"]}`, "API", 72 * time.Hour, "[users.view]", []string{"Authorization", root}},
		{`{"username":"John_Doe","password":"` + kit.Password + `","name":"body"}`, "body", 72 * time.Hour, "<nil>", nil},
	} {
		made := a.want(t, createToken, 201, c.body, c.header...)
		if made["name"] != c.name || fmt.Sprint(made["permissions"]) != c.narrowed || made["last_used_at"] != nil {
			t.Errorf("%s creates %v", c.body, made)
		}
		if life := lifeOf(t, made); life != c.life {
			t.Errorf("%s: the lifetime is %v, want %v", c.body, life, c.life)
		}
		id, bearer := made["id"].(string), []string{"Authorization", "Bearer " + made["token"].(string)}
		granted := a.want(t, "GET /api/me", 200, "", bearer...)["permissions"]
		if c.narrowed != "<nil>" && fmt.Sprint(granted) != c.narrowed {
			t.Errorf("%s: the token has the permissions %v, want %s", c.body, granted, c.narrowed)
		}
		a.wantListed(t, made, bearer)
		a.want(t, "DELETE /api/tokens/"+id, 204, "", bearer...)
	}
	made := a.want(t, createToken, 201, "", "Authorization", john)
	bearer := []string{"Authorization", "Bearer " + made["token"].(string)}
	testkit.Eventually(t, 10*time.Second, "the time of last use", func() bool {
		return a.listed(t, made["id"], bearer)["last_used_at"] != nil
	})
}

func lifeOf(t testing.TB, token map[string]any) time.Duration {
	t.Helper()
	var at [2]time.Time
	for i, name := range []string{"created_at", "expires_at"} {
		var err error
		if at[i], err = time.Parse(time.RFC3339, token[name].(string)); err != nil {
			t.Fatal(err)
		}
	}
	return at[1].Sub(at[0])
}

// wantListed fails unless the list has the created token, without its secret.
func (a *apiTest) wantListed(t testing.TB, made map[string]any, header []string) {
	t.Helper()
	want := maps.Clone(made)
	delete(want, "token")
	listed := a.listed(t, made["id"], header)
	listed["last_used_at"] = nil // may already be set
	if fmt.Sprint(listed) != fmt.Sprint(want) {
		t.Errorf("created %v, listed %v", want, listed)
	}
}

func (a *apiTest) listed(t testing.TB, id any, header []string) map[string]any {
	t.Helper()
	for _, token := range a.want(t, listTokens, 200, "", header...)["tokens"].([]any) {
		if token := token.(map[string]any); token["id"] == id {
			return token
		}
	}
	t.Fatalf("the token %v is not listed", id)
	return nil
}

func (a *apiTest) tokensAreNotCreated(t *testing.T) {
	john := []string{"Authorization", kit.BasicHeader("john_doe", kit.Password)}
	for _, body := range []string{"{", `[]`, `"x"`, `{"name":1}`, `{"expires_in":"1h"}`, `{"expires_in":1e30}`, `{"permissions":"users.view"}`, `{} {}`} {
		a.wantProblem(t, createToken, 400, "malformed_json", body, john...)
	}
	a.wantProblem(t, createToken, 415, "unsupported_media_type", "name=x", append(john, "Content-Type", kit.FormContentType)...)
	a.wantProblem(t, createToken, 413, "too_large", `{"name":"`+strings.Repeat("x", 1<<20)+`"}`, john...)
	a.wantProblem(t, createToken, 400, "token_from_token", "", "Authorization", "Bearer "+a.token)
	a.wantProblem(t, createToken, 401, "credentials_needed", `{"username":"john_doe"}`)
	a.wantProblem(t, createToken, 401, "wrong_credentials", `{"username":"john_doe","password":"`+kit.OtherPassword+`"}`)
	a.wantProblem(t, createToken, 401, "wrong_credentials", `{"username":"leaves","password":"`+kit.Password+`"}`)
	a.wantProblem(t, createToken, 429, "throttled", `{"username":"waits","password":"`+kit.Password+`"}`)
	for field, body := range map[string]string{
		"name":        `{"name":"` + strings.Repeat("x", identifier.MaxDisplayName+1) + `"}`,
		"permissions": `{"permissions":["users.view"]}`,
		"expires_in":  `{"expires_in":59}`,
	} {
		if p := a.wantProblem(t, createToken, 422, "invalid", body, john...); len(p.Errors) != 1 || p.Errors[field] == "" {
			t.Errorf("%s: got the errors %v, want one for %s", body, p.Errors, field)
		}
	}
	for _, seconds := range []string{"-1", "31622401", "9223372036854775807", "-9223372036854775808"} {
		a.wantProblem(t, createToken, 422, "invalid", `{"expires_in":`+seconds+`}`, john...)
	}
}

func (a *apiTest) usersWork(t *testing.T) {
	root := []string{"Authorization", "Bearer " + a.rootToken}
	a.wantProblem(t, listUsers, 403, "missing_permission", "", "Authorization", kit.BasicHeader("john_doe", kit.Password))
	a.wantProblem(t, listUsers, 403, "missing_permission", "", "Cookie", a.session)
	narrow := a.want(t, createToken, 201, `{"permissions":[]}`, "Authorization", kit.BasicHeader("root", kit.Password))["token"].(string)
	a.wantProblem(t, listUsers, 403, "missing_permission", "", "Authorization", "Bearer "+narrow)
	for _, limit := range []string{"0", "201", "-1", "x", "1.5"} {
		a.wantProblem(t, listUsers+"?limit="+limit, 400, "bad_limit", "", root...)
	}

	all := a.usernames(t, "?", root)
	want := []string{"browses", "changes", "collects", "john_doe", "leaves", "root"}
	if !slices.Equal(all, want) {
		t.Errorf("got the users %v, want %v", all, want)
	}
	var paged []string
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		page := a.want(t, listUsers+"?limit=4&after="+after, 200, "", root...)
		after = page["next"].(string)
		for _, u := range page["users"].([]any) {
			paged = append(paged, u.(map[string]any)["username"].(string))
		}
	}
	if !slices.Equal(paged, all) {
		t.Errorf("got the users %v from all pages, want %v", paged, all)
	}
	for query, want := range map[string]int{"?q=OE": 1, "?q=_": 1, "?q=%25": 0, "?q=%00": 0, "?q=%ff": 0, "?after=zz": 0, "?limit=1": 1, "?limit=200": 6} {
		if got := a.usernames(t, query, root); len(got) != want {
			t.Errorf("%s finds %v, want %d", query, got, want)
		}
	}
}

func (a *apiTest) usernames(t testing.TB, query string, header []string) []string {
	t.Helper()
	var names []string
	for _, u := range a.want(t, listUsers+query, 200, "", header...)["users"].([]any) {
		names = append(names, u.(map[string]any)["username"].(string))
	}
	return names
}

// maintenance checks that the API is closed, with the operator's message, except for administrators.
func (a *apiTest) maintenance(t *testing.T) {
	a.Run("", "maintenance", "on", "--message", "Back at nine.").WantCode(t, 0)
	testkit.Eventually(t, 10*time.Second, "maintenance", func() bool {
		return a.call(t, "GET /api/time", "", "Authorization", "Bearer "+a.token).StatusCode == 503
	})
	for _, key := range a.operations() {
		if key == describe {
			a.want(t, describe, 200, "")
			continue
		}
		p := a.wantProblem(t, key, 503, "maintenance", "", "Authorization", "Bearer "+a.token)
		if !strings.Contains(p.Detail, "Back at nine.") {
			t.Errorf("%s: got the detail %q", key, p.Detail)
		}
	}
	a.want(t, "GET /api/time", 200, "", "Authorization", "Bearer "+a.rootToken)
	a.Run("", "maintenance", "off").WantCode(t, 0)
	testkit.Eventually(t, 10*time.Second, "the end of maintenance", func() bool {
		return a.call(t, "GET /api/time", "", "Authorization", "Bearer "+a.token).StatusCode == 200
	})
}

// outages checks that a changed database schema is an internal error and an unavailable Redis a temporary one.
func (a *apiTest) outages(t *testing.T) {
	each := func(status int, code string) {
		t.Helper()
		for _, key := range a.operations() {
			if key != describe {
				a.wantProblem(t, key, status, code, "", "Authorization", kit.BasicHeader("stranger", kit.Password))
			}
		}
	}
	a.Exec(`ALTER TABLE users RENAME TO lost`)
	each(500, "internal")
	a.Exec(`ALTER TABLE lost RENAME TO users`)
	a.redis.Kill()
	each(503, "unavailable")
	a.wantProblem(t, "GET /api/time", 503, "unavailable", "", "Authorization", "Bearer "+a.token)
	a.wantProblem(t, "GET /api/time", 503, "unavailable", "", "Cookie", a.session)
	a.redis.Start()
	testkit.Eventually(t, 20*time.Second, "the end of the outage", func() bool {
		return a.call(t, "GET /api/time", "", "Authorization", kit.BasicHeader("john_doe", kit.Password)).StatusCode == 200
	})
}

// elsewhere checks that requests for unknown operations get problems of the same form.
func (a *apiTest) elsewhere(t *testing.T) {
	for key, status := range map[string]int{
		"POST /api/": 404, "GET /api/nothing": 404, "GET /api/time/": 404,
		"PUT /api/time": 405, "DELETE /api/tokens": 405, "POST /api/openapi.json": 405,
	} {
		got := a.call(t, key, "", "Authorization", kit.BasicHeader("john_doe", kit.Password))
		if got.StatusCode != status || got.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s of %q, want %d", key, got.Status, got.Header.Get("Content-Type"), status)
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(got.Text), &v); err != nil {
			t.Fatal(err)
		}
		if err := matches(a.doc.Components.Schemas["Problem"].Value, v); err != nil {
			t.Errorf("%s: %v\n%s", key, err, got.Text)
		}
		if status == 405 && got.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", key)
		}
	}
	if page := a.call(t, "GET /api/", ""); page.StatusCode != http.StatusPermanentRedirect || page.Header.Get("Location") != "/api" {
		t.Errorf("GET /api/: %s to %q, want the page /api", page.Status, page.Header.Get("Location"))
	}
	head := a.admin.Do(a.admin.NewRequest(http.MethodHead, "/api/time", "", "Authorization", kit.BasicHeader("john_doe", kit.Password)))
	if head.StatusCode != 200 || head.Text != "" || head.Header.Get("Content-Length") == strconv.Itoa(0) {
		t.Errorf("HEAD /api/time: %s, %q", head.Status, head.Text)
	}
}
