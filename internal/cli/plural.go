package cli

import "fmt"

// settings returns "1 setting" or "3 settings".
func settings(n int) string {
	if n == 1 {
		return "1 setting"
	}
	return fmt.Sprintf("%d settings", n)
}
