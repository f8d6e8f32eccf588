package kit

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// FormContentType is the content type of forms.
const FormContentType = "application/x-www-form-urlencoded"

// EncodeForm encodes fields as application/x-www-form-urlencoded.
func EncodeForm(fields ...string) string {
	values := url.Values{}
	for name, value := range pairsOf(fields) {
		values.Set(name, value)
	}
	return values.Encode()
}

// NewForm returns the request that PostForm sends.
func (c *Client) NewForm(path string, fields ...string) *http.Request {
	return c.NewRequest(http.MethodPost, path, EncodeForm(fields...), "Content-Type", FormContentType)
}

// PostForm submits a form; fields are name, value, name, value….
func (c *Client) PostForm(path string, fields ...string) Response {
	c.T.Helper()
	return c.Do(c.NewRequest(http.MethodPost, path, EncodeForm(fields...), "Content-Type", FormContentType))
}

// FieldError returns the message that a page shows at a field, or "".
func FieldError(a Response, field string) string {
	pattern := `id="` + regexp.QuoteMeta(field) + `-help"><span class="visually-hidden">Error: </span>([^<]*)</p>`
	m := regexp.MustCompile(pattern).FindStringSubmatch(a.Text)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// FormError returns the message that a page shows about the whole form, or "".
func FormError(a Response) string {
	m := regexp.MustCompile(`role="alert"[^>]*>([^<]*)</p>`).FindStringSubmatch(a.Text)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// WantFieldError fails unless the form came back with a message at the field that contains the sentence.
func (c *Client) WantFieldError(a Response, field, sentence string) {
	c.T.Helper()
	c.WantStatus(a, http.StatusUnprocessableEntity)
	if got := FieldError(a, field); !strings.Contains(got, sentence) || got == "" {
		c.T.Errorf("%s: got %q at %s, want %q", a.Request.URL.Path, got, field, sentence)
	}
}
