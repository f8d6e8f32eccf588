package sessions

import (
	"strings"
	"testing"
)

func TestIsToken_AcceptsSessionTokensOnly(t *testing.T) {
	token := strings.Repeat("A", 30) + "z09-_azAZ0919"
	if len(token) != 43 || !IsToken(token) {
		t.Errorf("%q is refused", token)
	}
	for _, s := range []string{"", "A", token[1:], token + "A", token[1:] + "=", token[1:] + "+", token[1:] + "/", token[1:] + " ", token[1:] + "\n", token[1:] + "\x00", token[2:] + "é", strings.Repeat("A", 1<<20)} {
		if IsToken(s) {
			t.Errorf("%.60q is accepted as a token", s)
		}
	}
}
