package testkit

import (
	"bytes"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/testkit/servers"
)

// Program is a third-party server, such as nginx, that a test runs.
type Program struct {
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has exited
	output syncBuffer
}

// StartProgram starts cmd in a new process group and waits until the TCP address accepts
// connections. The program is killed when the test ends; a failed test logs its output.
func StartProgram(t testing.TB, cmd *exec.Cmd, address string) *Program {
	t.Helper()
	p := &Program{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.WaitDelay = time.Second
	if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait() // the exit code does not matter
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = servers.KillGroup(cmd)
		<-p.done
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd, &p.output)
		}
	})
	Eventually(t, 30*time.Second, cmd.Path+" to listen at "+address, func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s exited before it listened:\n%s", cmd, &p.output)
		default:
		}
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

// Output returns what the program has printed so far.
func (p *Program) Output() string { return p.output.String() }

// syncBuffer is a bytes.Buffer for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
