package kv

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

// fieldNames is the set of JSON field names of a record.
type fieldNames map[string]bool

// fieldNamesOf returns the field names of a record, none of which may be omitted when empty.
func fieldNamesOf(record any) fieldNames {
	b, err := json.Marshal(record)
	var fields map[string]json.RawMessage
	if err != nil || json.Unmarshal(b, &fields) != nil {
		panic("kv: the record is not a JSON object")
	}
	names := fieldNames{}
	for name := range fields {
		names[name] = true
	}
	return names
}

// decode parses a JSON object into v and returns its fields. Names are case-sensitive, as in
// docs/session-format.md and in every other reader; encoding/json alone would accept "V" for "v".
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

// isUTC reports whether a time has the form that the session format demands: with Z and no offset.
func isUTC(raw json.RawMessage) bool { return utcTime.Match(bytes.TrimSpace(raw)) }
