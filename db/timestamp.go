package db

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// timestamp is a time as the databases store it: UTC, in microseconds, NULL for zero.
type timestamp time.Time

// timestampLayout is the format of times in SQLite: one of the formats of its date functions
// (https://www.sqlite.org/lang_datefunc.html#time_values), with microseconds.
const timestampLayout = "2006-01-02 15:04:05.000000-07:00"

// Value implements driver.Valuer. Postgres accepts the text that SQLite stores.
func (t timestamp) Value() (driver.Value, error) {
	if time.Time(t).IsZero() {
		return nil, nil
	}
	return time.Time(t).UTC().Truncate(time.Microsecond).Format(timestampLayout), nil
}

// Scan implements sql.Scanner. SQLite returns text, which may have been written by hand.
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
	return fmt.Errorf("unsupported type %T for a time", src)
}

// parse parses a time. Without a time zone it is UTC, as in SQLite's date functions.
func (t *timestamp) parse(s string) error {
	for _, layout := range []string{
		timestampLayout, time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05",
	} {
		if v, err := time.Parse(layout, s); err == nil {
			*t = timestamp(v.UTC())
			return nil
		}
	}
	return fmt.Errorf("invalid time %q", s)
}

func now() timestamp { return timestamp(time.Now()) }
