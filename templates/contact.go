package templates

import (
	"net/url"
	"strings"
)

// contactLink returns the link for a contact that is an email address or a URL; "" for a sentence.
func contactLink(text string) string {
	if strings.ContainsAny(text, " \t") {
		return ""
	}
	if u, err := url.Parse(text); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
		return text
	}
	if local, domain, found := strings.Cut(text, "@"); found && local != "" && strings.Contains(domain, ".") {
		return "mailto:" + (&url.URL{Path: text}).EscapedPath()
	}
	return ""
}
