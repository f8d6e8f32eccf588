//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"gatehouse/internal/testkit/servers"
)

// program describes a server to start. Its environment is env, LISTEN_ADDR, BASE_URL and PATH.
type program struct {
	path string
	args []string
	env  map[string]string
	// ready is a path that returns 200 once the server is up.
	ready string
}

// server is a running program. Its output, including the access log, goes to /dev/null.
type server struct {
	url  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has exited
}

// startTimeout bounds the wait for the first response, generously, for busy machines.
const startTimeout = 30 * time.Second

// start runs a program and waits for its first response. took is the time from exec until then.
func start(ctx context.Context, p program) (s *server, took time.Duration, err error) {
	cmd, url, err := p.command()
	if err != nil {
		return nil, 0, err
	}
	begun := time.Now()
	if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
		return nil, 0, err
	}
	s = &server{url: url, cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait() // requests to it fail
		close(s.done)
	}()
	if err := s.await(ctx, p.ready); err != nil {
		s.stop()
		return nil, 0, fmt.Errorf("%w\n%s", err, p.startupOutput(ctx))
	}
	return s, time.Since(begun), nil
}

func (p program) command() (cmd *exec.Cmd, url string, err error) {
	port, err := servers.FreePort()
	if err != nil {
		return nil, "", err
	}
	addr := "127.0.0.1:" + strconv.Itoa(port)
	cmd = exec.Command(p.path, p.args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LISTEN_ADDR=" + addr, "BASE_URL=http://" + addr}
	for name, value := range p.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd, "http://" + addr, nil
}

// await polls every half a millisecond, the resolution of the start time.
func (s *server) await(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		status, _, err := fetch(ctx, client, s.url+path)
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-s.done:
			return errors.New("the server exited before its first response")
		case <-ctx.Done():
			return fmt.Errorf("no 200 from %s (status %d, %w)", path, status, errors.Join(err, ctx.Err()))
		case <-time.After(500 * time.Microsecond):
		}
	}
}

// startupOutput starts the program again and returns its output, to explain a failed start.
func (p program) startupOutput(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	cmd, _, err := p.command()
	if err != nil {
		return err.Error()
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
		return err.Error()
	}
	context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	cmd.Wait() // the output says more than the exit code
	return out.String()
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop sends SIGTERM, and SIGKILL after ten seconds.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
}

// fetch sends a GET with headers such as "Cookie: a=b".
func fetch(ctx context.Context, client *http.Client, url string, headers ...string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	setHeaders(req, headers)
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
