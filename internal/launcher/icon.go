package launcher

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	maxIcon       = 64 << 10 // bytes
	maxIconPixels = 1024     // in each direction
	svgNamespace  = "http://www.w3.org/2000/svg"
)

// readIcon reads an image in the directory or below it. Symbolic links must not lead out of it.
func readIcon(dir, file string) (*Icon, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	content, err := readLimited(root.Open(file))
	if err != nil {
		return nil, fmt.Errorf("%w (the path is relative to the file, and must not lead out of its directory)", err)
	}
	if len(content) > maxIcon {
		return nil, fmt.Errorf("%s is larger than %d kB", file, maxIcon>>10)
	}
	icon := &Icon{Content: content}
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".svg":
		icon.Kind, err = "image/svg+xml", checkSVG(content)
	case ".png":
		icon.Kind, err = "image/png", checkPNG(content)
	default:
		err = errors.New("use an SVG or PNG image")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	sum := sha256.Sum256(content)
	icon.Name = hex.EncodeToString(sum[:16]) + strings.ToLower(filepath.Ext(file))
	return icon, nil
}

func checkPNG(content []byte) error {
	config, err := png.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("this is not a PNG image: %w", err)
	}
	if config.Width > maxIconPixels || config.Height > maxIconPixels {
		return fmt.Errorf("the image has %d × %d pixels; use at most %d × %[3]d", config.Width, config.Height, maxIconPixels)
	}
	return nil
}

// checkSVG accepts only drawings. Browsers run no scripts in the images of a page, and the response's policy forbids them
// where the image is opened by itself; a file that contains any is refused all the same.
func checkSVG(content []byte) error {
	d := xml.NewDecoder(bytes.NewReader(content))
	for depth := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("this is not an SVG image: %w", err)
		}
		switch e := token.(type) {
		case xml.Directive:
			return errors.New("remove the document type")
		case xml.EndElement:
			depth--
		case xml.StartElement:
			if depth == 0 && e.Name != (xml.Name{Space: svgNamespace, Local: "svg"}) {
				return fmt.Errorf("the root element is not svg in the namespace %s", svgNamespace)
			}
			depth++
			if err := checkSVGElement(e); err != nil {
				return err
			}
		}
	}
}

func checkSVGElement(e xml.StartElement) error {
	switch strings.ToLower(e.Name.Local) {
	case "script", "foreignobject", "handler", "iframe":
		return fmt.Errorf("remove the element %s", e.Name.Local)
	}
	for _, a := range e.Attr {
		name := strings.ToLower(a.Name.Local)
		if strings.HasPrefix(name, "on") || name == "href" && !strings.HasPrefix(a.Value, "#") && !strings.HasPrefix(a.Value, "data:image/") {
			return fmt.Errorf("remove the attribute %s=%q of %s", a.Name.Local, a.Value, e.Name.Local)
		}
	}
	return nil
}
