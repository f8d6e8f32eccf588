package web

import (
	"strconv"
	"time"
)

// FormatDuration returns a duration in words ("2 minutes"), rounded up.
func FormatDuration(d time.Duration) string {
	n := int((d + time.Second - 1) / time.Second)
	unit := "second"
	if n > 90 {
		n, unit = (n+59)/60, "minute"
	}
	if n > 90 {
		n, unit = (n+59)/60, "hour"
	}
	if unit == "hour" && n > 48 {
		n, unit = (n+23)/24, "day"
	}
	return FormatCount(n, unit)
}

// FormatCount returns a number with its unit: "1 minute", "2 minutes".
func FormatCount(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}
