//go:build bench

package app

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// A build with the tag bench, which is no release, writes a CPU profile to the file that
// CPU_PROFILE names: from SIGUSR1 to SIGUSR2. The file appears when it is whole.
func init() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for range signals {
			if err := profile(os.Getenv("CPU_PROFILE"), signals); err != nil {
				fmt.Fprintln(os.Stderr, "profile:", err)
			}
		}
	}()
}

func profile(path string, until <-chan os.Signal) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	<-until
	pprof.StopCPUProfile()
	return os.Rename(f.Name(), path)
}
