// Gatehouse is single sign-on that any app can check with one Redis lookup.
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
