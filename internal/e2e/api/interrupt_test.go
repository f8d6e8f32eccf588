package api

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
	"gatehouse/internal/testkit/servers"
)

// signalTimeout is a generous limit for immediate effects.
const signalTimeout = 20 * time.Second

// terminal is a command that runs on a pseudo-terminal.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	before *term.State
	ended  chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

// onTerminal starts a command of the program on the embedded stores.
func onTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	return startOnTerminal(t, []string{"DATA_DIR=" + filepath.Join(t.TempDir(), "data")}, args...)
}

// startOnTerminal starts a command of the program with these settings.
func startOnTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: terminalColumns}); err != nil {
		t.Fatal(err)
	}
	p := &terminal{t: t, master: master, cmd: exec.Command(testkit.BuildWithoutRace(t), args...), ended: make(chan struct{})}
	if p.before, err = term.GetState(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.Env = env
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The replica stays open here, so that its state can be inspected afterwards.
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		_ = slave.Close()
		_ = master.Close()
	})
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	go func() { _, _ = io.Copy(p, master) }()
	return p
}

func (p *terminal) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *terminal) shown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *terminal) await(text string) {
	p.t.Helper()
	testkit.Eventually(p.t, signalTimeout, "the terminal to show "+text, func() bool { return strings.Contains(p.shown(), text) })
}

func (p *terminal) typeIn(text string) {
	p.t.Helper()
	if _, err := p.master.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

// awaitEnd returns the exit code, and fails unless the terminal is as it was before.
func (p *terminal) awaitEnd() int {
	p.t.Helper()
	awaitExit(p.t, p.ended)
	after, err := term.GetState(int(p.master.Fd()))
	if err != nil || !reflect.DeepEqual(after, p.before) {
		p.t.Errorf("the terminal's state is %v, %v; it was %v", after, err, p.before)
	}
	return p.cmd.ProcessState.ExitCode()
}

func awaitExit(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(signalTimeout):
		t.Fatalf("the command still runs after %v", signalTimeout)
	}
}

// TestPrompt_EndsAtASignal: Ctrl-C and SIGTERM end every prompt, and the terminal echoes again.
func TestPrompt_EndsAtASignal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(p *terminal)
		code int
	}{
		"Ctrl-C":  {func(p *terminal) { p.typeIn("\x03") }, 130},
		"SIGTERM": {func(p *terminal) { _ = p.cmd.Process.Signal(syscall.SIGTERM) }, 143},
	} {
		t.Run(name, func(t *testing.T) {
			for _, typed := range []string{"", "hunter", "hunter22\n"} {
				p := onTerminal(t, "user", "add", "alice")
				p.await("Password: ")
				p.typeIn(typed)
				if strings.HasSuffix(typed, "\n") {
					p.await("Repeat password: ")
				}
				test.end(p)
				if code := p.awaitEnd(); code != test.code {
					t.Errorf("after %q: exit code %d, want %d", typed, code, test.code)
				}
				p.await("interrupted")
				if !strings.Contains(p.shown(), "nothing was changed") {
					t.Errorf("the terminal shows %q", p.shown())
				}
			}
		})
	}
}

func TestPrompt_ReadsAPassword(t *testing.T) {
	t.Parallel()
	p := onTerminal(t, "user", "add", "alice")
	p.await("Password: ")
	// Input before the prompt would be echoed.
	testkit.Eventually(t, signalTimeout, "the echo to be off", func() bool {
		now, err := term.GetState(int(p.master.Fd()))
		return err == nil && !reflect.DeepEqual(now, p.before)
	})
	p.typeIn(kit.Password + "\n")
	p.await("Repeat password: ")
	p.typeIn(kit.Password + "\n")
	if code := p.awaitEnd(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.await("Added alice.")
}

// TestReading_EndsAtASignal: a signal ends commands that read endless standard input or an endless named pipe.
func TestReading_EndsAtASignal(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// Kept open, so that reading never ends.
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	// Longer than the part that format detection reads.
	const hash = "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6"
	rows := "username,note,password\nann,," + hash + "\nbob," + strings.Repeat("x", 8<<10) + "," + hash + "\n"
	for name, test := range map[string]struct {
		input string
		args  []string
		say   string
	}{
		"import":             {rows, []string{"user", "import", "-"}, "Imported 2;"},
		"import, nothing":    {"", []string{"user", "import", "-"}, "interrupted"},
		"import, named pipe": {"", []string{"user", "import", pipe}, "interrupted"},
		"password":           {"", []string{"user", "add", "alice", "--password-stdin"}, "interrupted"},
	} {
		for _, end := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+", "+end.String(), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				cmd := exec.Command(testkit.BuildWithoutRace(t), test.args...)
				cmd.Env = []string{"DATA_DIR=" + dir}
				var output bytes.Buffer
				cmd.Stdout, cmd.Stderr = &output, &output
				in, write, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer write.Close()
				cmd.Stdin = in
				if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				_ = in.Close()
				ended := make(chan struct{})
				go func() {
					_ = cmd.Wait()
					close(ended)
				}()
				defer func() {
					_ = cmd.Process.Kill()
					<-ended
				}()
				if _, err := write.WriteString(test.input); err != nil {
					t.Fatal(err)
				}
				// The command starts to read once its database exists.
				testkit.Eventually(t, signalTimeout, "the command to read", func() bool {
					o := kit.RunCommand(t, map[string]string{"DATA_DIR": dir}, "", "user", "list")
					return o.ExitCode == 0 && (test.input == "" || strings.Contains(o.Stdout, "bob"))
				})
				if err := cmd.Process.Signal(end); err != nil {
					t.Fatal(err)
				}
				awaitExit(t, ended)
				if code := cmd.ProcessState.ExitCode(); code != 128+int(end) || !strings.Contains(output.String(), test.say) || !strings.Contains(output.String(), "interrupted") {
					t.Errorf("exit code %d, %s", code, &output)
				}
			})
		}
	}
}
