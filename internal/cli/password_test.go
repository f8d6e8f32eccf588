package cli

import (
	"io"
	"strings"
	"testing"
)

func TestPassword_IsTheFirstLineOfStandardInput(t *testing.T) {
	for in, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", " spaced \nmore": " spaced ", "": "", strings.Repeat("x", 1<<20): strings.Repeat("x", 8<<10),
	} {
		if got, err := (passwordFlag{PasswordStdin: true}).password(&command{ctx: t.Context(), io: IO{In: strings.NewReader(in)}}); err != nil || got != want {
			t.Errorf("got %.20q of %d bytes, %v", got, len(got), err)
		}
	}
	if _, err := (passwordFlag{}).password(&command{ctx: t.Context(), io: IO{In: strings.NewReader("x")}}); err == nil || !strings.Contains(err.Error(), "--password-stdin") {
		t.Errorf("without a terminal: got %v", err)
	}
}

func TestReadFirstLine_DoesNotWaitForTheEnd(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	go func() { _, _ = io.WriteString(out, "hunter22\r\nrest") }()
	if got, err := readFirstLine(in); got != "hunter22" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
