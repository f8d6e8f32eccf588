package cli

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on the terminal that standard error is, below the lines that the command prints. Without a terminal,
// it does nothing.
type progress struct {
	bar *progressbar.ProgressBar
	w   io.Writer
}

// newProgress returns a bar for reading the input, by its bytes if their number is known.
func newProgress(errs io.Writer, input io.Reader) *progress {
	if terminalWidth(errs) == 0 {
		return &progress{}
	}
	size := int64(-1)
	if f, ok := input.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	return &progress{w: errs, bar: progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(errs), progressbar.OptionSetDescription("Reading"),
		progressbar.OptionUseANSICodes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionSetWidth(24), progressbar.OptionSetElapsedTime(false),
	)}
}

// read returns a reader of r that advances the bar.
func (p *progress) read(r io.Reader) io.Reader {
	if p.bar == nil {
		return r
	}
	return io.TeeReader(r, p.bar)
}

// startRows begins to count rows instead of bytes.
func (p *progress) startRows(rows int) {
	if p.bar == nil || rows == 0 {
		return
	}
	p.clear()
	p.bar = progressbar.NewOptions(rows,
		progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription("Importing"), progressbar.OptionShowCount(),
		progressbar.OptionUseANSICodes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(24), progressbar.OptionSetElapsedTime(false),
	)
}

// row advances the bar by a row.
func (p *progress) row() {
	if p.bar != nil {
		_ = p.bar.Add(1)
	}
}

// clear removes the bar; the next step draws it again.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// writer returns a writer to w that removes the bar before it prints.
func (p *progress) writer(w io.Writer) io.Writer {
	if p.bar == nil {
		return w
	}
	return clearingWriter{p, w}
}

type clearingWriter struct {
	progress *progress
	io.Writer
}

func (w clearingWriter) Write(b []byte) (int, error) {
	w.progress.clear()
	return w.Writer.Write(b)
}
