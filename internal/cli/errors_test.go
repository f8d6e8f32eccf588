package cli

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/auth"
)

func TestUserMessage_OrdersFields(t *testing.T) {
	err := fmt.Errorf("add: %w", auth.ValidationErrors{"username": "Taken.", "email": "No.", "password": "Short."})
	for range 20 { // the order of a map varies
		if got, want := userMessage(err).Error(), "email: No. password: Short. username: Taken."; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestMaintenanceOn_CountsBytes(t *testing.T) {
	_, _, err := runIn(t, map[string]string{}, "maintenance", "on", "--message", strings.Repeat("é", 251))
	if err == nil || err.Error() != "the message has 502 bytes; the maximum is 500" {
		t.Errorf("got %v", err)
	}
}
