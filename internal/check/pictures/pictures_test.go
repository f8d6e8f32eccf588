package pictures

import (
	"image"
	"image/color"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestUpdate_ReportsWhatChanged compares two runs: only pictures that look different are replaced and reported.
func TestUpdate_ReportsWhatChanged(t *testing.T) {
	dir, taken, report := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "report")
	put(t, dir, "same.png", page(0, 100, 100))
	put(t, dir, "cursor.png", page(0, 100, 100))
	put(t, dir, "moved.png", page(0, 100, 100))
	put(t, dir, "longer.png", page(0, 100, 100))
	put(t, dir, "gone.png", page(0, 100, 100))
	put(t, taken, "same.png", page(0, 100, 100))
	put(t, taken, "cursor.png", page(10, 100, 100)) // a thousandth
	put(t, taken, "moved.png", page(11, 100, 100))
	put(t, taken, "longer.png", page(0, 100, 125))
	put(t, taken, "new.png", page(0, 10, 10))
	cursor := file(t, filepath.Join(dir, "cursor.png"))

	changes, err := Update(dir, taken, report)
	want := []Change{
		{"longer.png", 0.2, Changed}, {"moved.png", 0.0011, Changed}, {"new.png", 1, New}, {"gone.png", 1, Removed},
	}
	if err != nil || !reflect.DeepEqual(changes, want) {
		t.Errorf("got %v, %v, want %v", changes, err, want)
	}
	if file(t, filepath.Join(dir, "cursor.png")) != cursor {
		t.Error("an unchanged picture was replaced")
	}
	if names, _ := namesIn(report); !reflect.DeepEqual(names, []string{"longer.png", "moved.png"}) {
		t.Errorf("the report has %q", names)
	}
	shown, err := read(filepath.Join(report, "longer.png"))
	if err != nil || shown.Bounds().Dx() != 3*100+2*gap || shown.Bounds().Dy() != 125 {
		t.Errorf("the report's picture is %v, %v", shown.Bounds(), err)
	}
	if changes, err = Update(dir, taken, report); err != nil || len(changes) != 0 {
		t.Errorf("a second time: got %v, %v, want no change", changes, err)
	}
	if names, _ := namesIn(report); len(names) != 0 {
		t.Errorf("the report still has %q", names)
	}
}

// TestUpdate_NeedsPictures: a run that took none is an error, not the removal of all.
func TestUpdate_NeedsPictures(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.png", page(0, 1, 1))
	if _, err := Update(dir, t.TempDir(), t.TempDir()); err == nil {
		t.Error("got no error")
	}
	if names, _ := namesIn(dir); len(names) != 1 {
		t.Errorf("%q are left, want a.png", names)
	}
}

// TestReduce_KeepsColorsClose: any picture fits into a palette, and one with few colors changes only by rounding.
func TestReduce_KeepsColorsClose(t *testing.T) {
	rainbow := image.NewRGBA(image.Rect(0, 0, 256, 256))
	for y := range 256 {
		for x := range 256 {
			rainbow.Set(x, y, color.RGBA{uint8(x), uint8(y), uint8(x * y), 0xff})
		}
	}
	for what, test := range map[string]struct {
		picture image.Image
		most    int // difference of a color channel
	}{"page": {page(5, 100, 100), 4}, "rainbow": {rainbow, 43}} {
		reduced := reduce(test.picture)
		area := test.picture.Bounds()
		for y := area.Min.Y; y < area.Max.Y; y++ {
			for x := area.Min.X; x < area.Max.X; x++ {
				a, b := rgb(test.picture.At(x, y)), rgb(reduced.At(x, y))
				for i := range a {
					if d := int(a[i]) - int(b[i]); d > test.most || -d > test.most {
						t.Fatalf("%s: %v became %v", what, a, b)
					}
				}
			}
		}
	}
}

// page is a light picture with so many dark pixels.
func page(dark, width, height int) image.Image {
	p := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			p.Set(x, y, color.RGBA{0xf6, 0xf4, 0xef, 0xff})
		}
	}
	for x := range dark {
		p.Set(x, 0, color.Black)
	}
	return p
}

func put(t *testing.T, dir, name string, picture image.Image) {
	t.Helper()
	if err := write(filepath.Join(dir, name), reduce(picture)); err != nil {
		t.Fatal(err)
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
