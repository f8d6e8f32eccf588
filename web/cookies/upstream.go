package cookies

import "strings"

var none = []string{""}

// WithoutOurs returns the Cookie header for a site behind forward auth: the request's without our cookies, the others in
// order and unchanged, "" if none is left. The result may alias headers and must not be modified.
//
// It removes every name that a Gatehouse server may use, not only the current ones: after a change of BASE_URL or
// COOKIE_DOMAIN the session in an old cookie may still be valid.
func WithoutOurs(headers []string) []string {
	ours, others := 0, 0
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			switch {
			case isOurs(pair):
				ours++
			case strings.Trim(pair, " \t") != "":
				others++
			}
		}
	}
	if others == 0 {
		return none
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
		case isOurs(pair):
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

// isOurs reports whether a pair of a Cookie header, with the whitespace around it, has one of our names.
func isOurs(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	if rest, ok := strings.CutPrefix(name, "__Host-"); ok {
		name = rest
	} else if rest, ok := strings.CutPrefix(name, "__Secure-"); ok {
		name = rest
	}
	return name == sessionName || name == deviceName
}
