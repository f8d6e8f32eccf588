//go:build bench

package app

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// init lets a build with the tag bench write a CPU profile from SIGUSR1 to SIGUSR2 into the file that CPU_PROFILE names.
// The file appears when the profile is complete. Releases are built without the tag.
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

// profile writes a CPU profile until the next signal.
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
