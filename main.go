// Gatehouse signs people in once and lets every app check it at Redis speed.
package main

import (
	"os"
	"syscall"

	"gatehouse/internal/cli"
)

func main() {
	ctx, stop := cli.UntilSignal(os.Interrupt, syscall.SIGTERM)
	err := cli.Run(ctx, os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	code := cli.Report(ctx, err, os.Stderr)
	stop()
	os.Exit(code)
}
