//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// storm is one measurement of signed-in pages while many users sign in.
type storm struct {
	calm, pages load // the dashboard on the same connections, without and with the storm
	signIns     load
	peak        int64 // memory in bytes
}

const (
	stormConnections = 64
	pageConnections  = 8
	// stormLead is how long the sign-ins start before the pages, and end after them.
	stormLead = time.Second
)

// relativeRate is the rate of the pages in the storm, relative to the calm rate.
func (s storm) relativeRate() float64 { return s.pages.rate() / s.calm.rate() }

func (b *bench) measureStorm(ctx context.Context, round int) error {
	page := b.targets[0]
	page.connections = pageConnections
	read := func() (load, error) {
		return b.wrk.get(ctx, page.server.url+page.path, page.headers, page.connections, page.duration)
	}
	var s storm
	var err error
	if s.calm, err = read(); err != nil {
		return fmt.Errorf("calm pages: %w", err)
	}
	if err := resetPeakMemory(b.gatehouse.pid()); err != nil {
		return err
	}
	signedIn := make(chan error, 1)
	go func() {
		var err error
		s.signIns, err = b.wrk.signIn(ctx, b.gatehouse.url+"/login", stormUsers, stormConnections, page.duration+2*stormLead)
		signedIn <- err
	}()
	time.Sleep(stormLead)
	s.pages, err = read()
	if err := errors.Join(err, <-signedIn); err != nil {
		return err
	}
	if s.peak, err = peakMemory(b.gatehouse.pid()); err != nil {
		return err
	}
	if _, err := page.probe(ctx); err != nil {
		return fmt.Errorf("after the storm: %w", err)
	}
	b.storms = append(b.storms, s)
	b.progressf("round %d/%d: %-34s %s requests/s of %s, %.0f sign-ins/s, %d refused, peak %.0f MB", round+1, b.rounds, "sign-in storm: dashboard",
		count(s.pages.rate()), count(s.calm.rate()), s.signIns.perSecond(s.signIns.SignedIn), s.signIns.Refused, megabytes(s.peak))
	return nil
}
