// Package launcher reads the apps that the dashboard lists: from a YAML file (APPS_FILE) and the images beside it. It reads
// the file again when it changes. Who may see which app is for its caller to decide.
package launcher

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// App is a site behind the gate.
type App struct {
	Name        string
	URL         string // absolute, http or https
	Description string // may be empty
	// Permission and Group are what a user needs to enter; empty: nothing.
	Permission, Group string
	Icon              *Icon // nil: the page shows Letter on the color with the number Color
	Letter            string
	Color             int // 0 to Colors-1

	folded string
}

// Icon is an image.
type Icon struct {
	Name    string // of the content's hash: "0f3a….svg"
	Kind    string // its media type
	Content []byte
}

// pollInterval is how often Watch looks for a change.
const pollInterval = 2 * time.Second

// File is APPS_FILE and the apps in it.
type File struct {
	path string
	log  *slog.Logger
	apps atomic.Pointer[[]App]
	seen string
}

// Open reads the file. An empty path is a list without apps. The error has one line for each problem in the file, with its
// name and the number of the line.
func Open(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log}
	f.apps.Store(new([]App))
	if path == "" {
		return f, nil
	}
	// Before the file is read, so that a change in between is not missed.
	f.seen = f.state()
	return f, f.read()
}

// Apps returns the apps in the order of the file. Callers must not change them.
func (f *File) Apps() []App { return *f.apps.Load() }

func (f *File) read() error {
	apps, err := Load(f.path)
	if err != nil {
		return err
	}
	f.apps.Store(&apps)
	return nil
}

// Watch reads the file again when it or one of its images changes, until ctx ends. It logs what is wrong with a changed file
// and keeps the last list.
func (f *File) Watch(ctx context.Context) {
	if f.path == "" {
		return
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		state := f.state()
		if state == f.seen {
			continue
		}
		f.seen = state
		if err := f.read(); err != nil {
			f.log.ErrorContext(ctx, "APPS_FILE has changed and cannot be used; the dashboard keeps the last list", "error", err)
			continue
		}
		f.log.InfoContext(ctx, "APPS_FILE has changed", "apps", len(f.Apps()))
	}
}

// state returns the sizes and modification times of the file and of the directory's images, as far as they can be read.
func (f *File) state() string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(f.path), "*.[ps][nv]g"))
	for _, path := range append(files, f.path) {
		info, err := os.Stat(path)
		if err != nil {
			b.WriteString(path + " missing\n")
			continue
		}
		b.WriteString(path + " " + info.ModTime().String() + " " + strconv.FormatInt(info.Size(), 10) + "\n")
	}
	return b.String()
}
