// Package pictures compares the pictures of all pages with those of an earlier run, and shows what changed. It knows
// nothing about how the pictures are taken.
package pictures

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// maxUnchanged is the share of pixels that may differ before a picture counts as changed: a cursor or the edge of a
// letter is not a change.
const maxUnchanged = 0.001

// Change is a picture that differs from the one of the earlier run.
type Change struct {
	Name string // of the file: "login-360-dark.png"
	// Share is the share of pixels that differ, 0 to 1; it is 1 for a new or a removed picture.
	Share float64
	// Kind is Changed, New or Removed.
	Kind Kind
}

// Kind says how a picture changed.
type Kind string

// The kinds of changes.
const (
	Changed Kind = "changed"
	New     Kind = "new"
	Removed Kind = "removed"
)

// Update brings the PNG files in dir up to date with those in taken, and returns the changes by name. In report it
// leaves, for each changed picture, one that shows the old, the new, and the pixels that differ side by side; earlier
// reports are deleted. Pictures with at most a thousandth of changed pixels stay as they are, to keep the history small.
func Update(dir, taken, report string) ([]Change, error) {
	if err := errors.Join(os.RemoveAll(report), os.MkdirAll(report, 0o755), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	names, err := namesIn(taken)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no pictures", taken)
	}
	var changes []Change
	for _, name := range names {
		change, err := update(filepath.Join(dir, name), filepath.Join(taken, name), filepath.Join(report, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if change.Kind != "" {
			change.Name = name
			changes = append(changes, change)
		}
	}
	old, err := namesIn(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range old {
		if slices.Contains(names, name) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
		changes = append(changes, Change{Name: name, Share: 1, Kind: Removed})
	}
	return changes, nil
}

func namesIn(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.png"))
	for i, path := range paths {
		paths[i] = filepath.Base(path)
	}
	return paths, err
}

// update replaces one picture if it changed. The Kind of its result is empty if it did not.
func update(path, taken, report string) (Change, error) {
	now, err := read(taken)
	if err != nil {
		return Change{}, err
	}
	reduced := reduce(now)
	before, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Change{Share: 1, Kind: New}, write(path, reduced)
	}
	if err != nil {
		return Change{}, err
	}
	share, marked := compare(before, reduced)
	if share <= maxUnchanged {
		return Change{}, nil
	}
	return Change{Share: share, Kind: Changed}, errors.Join(write(report, sideBySide(before, reduced, marked)), write(path, reduced))
}

// compare returns the share of pixels that differ and a picture that marks them. A pixel outside of one of the pictures
// differs.
func compare(a, b image.Image) (float64, image.Image) {
	area := a.Bounds().Union(b.Bounds())
	marked := image.NewPaletted(area, color.Palette{color.White, color.RGBA{0xb0, 0x28, 0x1f, 0xff}})
	differing := 0
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			at := image.Pt(x, y)
			if !at.In(a.Bounds()) || !at.In(b.Bounds()) || rgb(a.At(x, y)) != rgb(b.At(x, y)) {
				marked.SetColorIndex(x, y, 1)
				differing++
			}
		}
	}
	return float64(differing) / float64(max(1, area.Dx()*area.Dy())), marked
}

// gap separates pictures that stand side by side, in pixels.
const gap = 16

func sideBySide(pictures ...image.Image) image.Image {
	var width, height int
	for _, p := range pictures {
		width += p.Bounds().Dx() + gap
		height = max(height, p.Bounds().Dy())
	}
	all := image.NewRGBA(image.Rect(0, 0, width-gap, height))
	draw.Draw(all, all.Bounds(), image.NewUniform(color.Gray{0x80}), image.Point{}, draw.Src)
	x := 0
	for _, p := range pictures {
		draw.Draw(all, image.Rect(x, 0, x+p.Bounds().Dx(), p.Bounds().Dy()), p, p.Bounds().Min, draw.Src)
		x += p.Bounds().Dx() + gap
	}
	return all
}

// reduce returns the picture in at most 256 colors, which makes its file a third as large. All colors are rounded to 5
// bits, or to fewer if that leaves too many.
func reduce(picture image.Image) image.Image {
	for bits := uint(5); bits > 2; bits-- {
		if p, ok := withPalette(picture, bits); ok {
			return p
		}
	}
	p, _ := withPalette(picture, 2) // has at most 64 colors
	return p
}

// withPalette returns the picture with its colors rounded, and false if they are more than 256.
func withPalette(picture image.Image, bits uint) (image.Image, bool) {
	area := picture.Bounds()
	reduced := image.NewPaletted(area, nil)
	indexes := map[[3]uint8]uint8{}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			c := rgb(picture.At(x, y))
			for i := range c {
				c[i] = round(c[i], bits)
			}
			index, ok := indexes[c]
			if !ok {
				if len(reduced.Palette) == 256 {
					return nil, false
				}
				index = uint8(len(reduced.Palette))
				indexes[c] = index
				reduced.Palette = append(reduced.Palette, color.RGBA{c[0], c[1], c[2], 0xff})
			}
			reduced.Pix[reduced.PixOffset(x, y)] = index
		}
	}
	return reduced, true
}

// round returns the nearest of the 2^bits values that are spread over 0 to 255.
func round(v uint8, bits uint) uint8 {
	most := 1<<bits - 1
	return uint8((int(v)*most + 127) / 255 * 255 / most)
}

func rgb(c color.Color) [3]uint8 {
	r, g, b, _ := c.RGBA()
	return [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}
}

func read(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return png.Decode(f)
}

func write(path string, picture image.Image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	return errors.Join(encoder.Encode(f, picture), f.Close())
}
