package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"golang.org/x/term"
)

// passwordFlag is the flag of commands that read a new password.
type passwordFlag struct {
	PasswordStdin bool `help:"Read the password from standard input (one line) instead of the terminal."`
}

// password reads a new password: twice from a terminal, once from standard input.
func (p passwordFlag) password(c *command) (string, error) {
	if p.PasswordStdin {
		line, err := readFirstLine(interruptible(c.ctx, c.io.In))
		if err != nil {
			return "", fmt.Errorf("read the password from standard input (nothing was changed): %w", err)
		}
		return line, nil
	}
	f, ok := c.terminal()
	if !ok {
		return "", errors.New("there is no terminal to read the password from; use --password-stdin")
	}
	first, err := prompt(c, f, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := prompt(c, f, "Repeat password: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the passwords do not match; nothing was changed")
	}
	return first, nil
}

// terminal returns the terminal that the command reads from; ok is false if it reads from something else.
func (c *command) terminal() (f *os.File, ok bool) {
	f, ok = c.io.In.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

func prompt(c *command, f *os.File, text string) (string, error) {
	fmt.Fprint(c.io.Err, text)
	password, err := readPassword(c.ctx, int(f.Fd()))
	fmt.Fprintln(c.io.Err)
	if err != nil {
		return "", fmt.Errorf("read the password (nothing was changed): %w", err)
	}
	return password, nil
}

// readFirstLine returns the first line without waiting for the end of r.
func readFirstLine(r io.Reader) (string, error) {
	// Longer than the longest password, so that one that is too long is refused and not truncated.
	line, err := bufio.NewReaderSize(r, 8<<10).ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

// restoreTimeout is how long readPassword waits for the terminal's echo to be turned off before it restores it.
const restoreTimeout = time.Second

// readPassword is term.ReadPassword that also returns when ctx ends, and restores the terminal then.
func readPassword(ctx context.Context, terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(terminal)
		done <- answer{text, err}
	}()
	select {
	case a := <-done:
		return string(a.text), a.err
	case <-ctx.Done():
	}
	// ReadPassword may be about to turn the echo off: wait until it has, and only then restore it.
	for deadline := time.Now().Add(restoreTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if now, err := term.GetState(terminal); err != nil || !reflect.DeepEqual(now, before) {
			break
		}
	}
	return "", errors.Join(context.Cause(ctx), term.Restore(terminal, before))
}
