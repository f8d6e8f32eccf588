package db

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// timestamp is a time as the databases keep it: UTC, in microseconds, zero as NULL.
type timestamp time.Time

// timestampLayout is how SQLite keeps times: one of the formats of its date functions
// (https://www.sqlite.org/lang_datefunc.html#time_values), with microseconds.
const timestampLayout = "2006-01-02 15:04:05.000000-07:00"

// Value implements driver.Valuer. Postgres reads the same text as SQLite keeps.
func (t timestamp) Value() (driver.Value, error) {
	if time.Time(t).IsZero() {
		return nil, nil
	}
	return time.Time(t).UTC().Truncate(time.Microsecond).Format(timestampLayout), nil
}

// Scan implements sql.Scanner. SQLite hands out text, maybe written by hand.
func (t *timestamp) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t = timestamp{}
		return nil
	case time.Time:
		*t = timestamp(v.UTC())
		return nil
	case string:
		return t.parse(v)
	}
	return fmt.Errorf("a time of type %T", src)
}

// parse reads a time; one without a zone is UTC, as in SQLite's date functions.
func (t *timestamp) parse(s string) error {
	for _, layout := range []string{
		timestampLayout, time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05",
	} {
		if v, err := time.Parse(layout, s); err == nil {
			*t = timestamp(v.UTC())
			return nil
		}
	}
	return fmt.Errorf("a time of the form %q", s)
}

func now() timestamp { return timestamp(time.Now()) }
