package importer

import (
	"errors"
	"io"
	"strings"
)

// readHtpasswd reads lines of NAME:HASH.
func readHtpasswd(in *reader, handle func(Row) error) error {
	for {
		text, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		row := Row{Line: in.skipped + in.line, Active: true}
		name, hash, ok := strings.Cut(text, ":")
		if !ok {
			row.Problem = "This line is not NAME:HASH."
		}
		row.ID, row.Username, row.Hash = name, name, strings.TrimSpace(hash)
		if err := handle(row); err != nil {
			return err
		}
	}
}
