package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

type passwordFlag struct {
	PasswordStdin bool `help:"Read the password from standard input (one line) instead of the terminal."`
}

// password reads a new password: twice from a terminal, once from a pipe.
func (p passwordFlag) password(c *command) (string, error) {
	if p.PasswordStdin {
		return firstLineOf(interruptible(c.ctx, c.io.In))
	}
	f, ok := c.io.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", errors.New("there is no terminal to ask for the password on; use --password-stdin")
	}
	first, err := ask(c, f, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask(c, f, "Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

func ask(c *command, f *os.File, prompt string) (string, error) {
	fmt.Fprint(c.io.Err, prompt)
	password, err := readPassword(c.ctx, int(f.Fd()))
	fmt.Fprintln(c.io.Err)
	if err != nil {
		return "", fmt.Errorf("read the password (nothing was changed): %w", err)
	}
	return password, nil
}

// firstLineOf reads as far as the end of the first line, which need not be the end of the pipe.
func firstLineOf(r io.Reader) (string, error) {
	// A little more than the longest password, so that one that is too long is noticed.
	line, err := bufio.NewReaderSize(r, 8<<10).ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("read the password from standard input (nothing was changed): %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}
