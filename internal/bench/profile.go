//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// profileDuration is the minimum: the profiler takes only a hundred samples a second.
const profileDuration = 15 * time.Second

// takeProfile measures the dashboard once more, on a build that can profile itself. The report does
// not include this measurement, because profiling costs time.
func (b *bench) takeProfile(ctx context.Context) error {
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	file, err := filepath.Abs(filepath.Join(b.profile, "dashboard.pprof"))
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p := b.site.gatehouse
	p.path += "-bench"
	p.env = maps.Clone(p.env)
	p.env["CPU_PROFILE"] = file
	delete(p.env, "METRICS_ADDR") // in use by the measured server
	if err := build(ctx, p.path, "-tags=bench"); err != nil {
		return err
	}
	s, _, err := start(ctx, p)
	if err != nil {
		return fmt.Errorf("start the profiling build: %w", err)
	}
	defer s.stop()
	page := b.targets[0]
	if _, err := b.wrk.get(ctx, s.url+page.path, page.headers, page.connections, warmUp); err != nil {
		return fmt.Errorf("warm up to profile: %w", err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	if _, err := b.wrk.get(ctx, s.url+page.path, page.headers, page.connections, max(page.duration, profileDuration)); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	return b.awaitProfile(ctx, file)
}

// awaitProfile waits for the file, which appears when it is complete.
func (b *bench) awaitProfile(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if _, err := os.Stat(file); err == nil {
			b.progressf("profile: go tool pprof -top %s", file)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the profile: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
