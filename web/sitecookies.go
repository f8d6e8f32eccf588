package web

import "strings"

var noCookies = []string{""}

// siteCookies returns the Cookie header that a site behind forward auth may see: the request's without our cookies,
// the others in order and unchanged, "" if none is left. The result may be headers itself and is not to be changed.
//
// Cookies under every name that a server of ours may use are taken out, not only those under the current one: after
// a change of BASE_URL or COOKIE_DOMAIN the session in an old cookie may still be alive.
func siteCookies(headers []string) []string {
	ours, others := 0, 0
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			switch {
			case isOurCookie(pair):
				ours++
			case strings.Trim(pair, " \t") != "":
				others++
			}
		}
	}
	if others == 0 {
		return noCookies
	}
	if ours == 0 && len(headers) == 1 {
		return headers
	}
	var b strings.Builder
	for _, header := range headers {
		appendOthers(&b, header)
	}
	return []string{b.String()}
}

// appendOthers appends the pairs of a Cookie header that are not ours.
func appendOthers(b *strings.Builder, header string) {
	first := true
	for pair := range strings.SplitSeq(header, ";") {
		switch {
		case isOurCookie(pair):
			continue
		case !first:
			b.WriteByte(';')
		default:
			if pair = strings.TrimLeft(pair, " \t"); pair == "" {
				continue
			}
			if b.Len() > 0 {
				b.WriteString("; ")
			}
			first = false
		}
		b.WriteString(pair)
	}
}

// isOurCookie reports whether a pair of a Cookie header, with the white space around it, has one of our names.
func isOurCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	if rest, ok := strings.CutPrefix(name, "__Host-"); ok {
		name = rest
	} else if rest, ok := strings.CutPrefix(name, "__Secure-"); ok {
		name = rest
	}
	return name == sessionCookieName || name == browserCookieName
}
