package kv

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

// fieldNames are the JSON names of a record.
type fieldNames map[string]bool

// namesOf returns the names of a record's fields; none of them may be left out when it is empty.
func fieldNamesOf(record any) fieldNames {
	b, err := json.Marshal(record)
	var fields map[string]json.RawMessage
	if err != nil || json.Unmarshal(b, &fields) != nil {
		panic("a record that is no JSON object")
	}
	names := fieldNames{}
	for name := range fields {
		names[name] = true
	}
	return names
}

// decode reads one JSON object into v and returns its fields. Names are told apart by case, as
// docs/session-format.md and every other reader do; encoding/json alone takes "V" for "v".
func (names fieldNames) decode(b []byte, v any) (map[string]json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	if !utf8.Valid(b) || json.Unmarshal(b, &fields) != nil || fields == nil {
		return nil, false
	}
	exact := true
	for field := range fields {
		if names[field] {
			continue
		}
		for name := range names {
			if strings.EqualFold(field, name) {
				exact = false
				delete(fields, field)
				break
			}
		}
	}
	if !exact {
		var err error
		if b, err = json.Marshal(fields); err != nil {
			return nil, false
		}
	}
	return fields, json.Unmarshal(b, v) == nil
}

var utcTime = regexp.MustCompile(`^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"$`)

// isUTC reports whether a time is written as the session format writes it: with Z, not with an offset.
func isUTC(raw json.RawMessage) bool { return utcTime.Match(bytes.TrimSpace(raw)) }
