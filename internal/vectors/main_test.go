package main

import (
	"bytes"
	"os"
	"testing"
)

func TestFile_IsUpToDate(t *testing.T) {
	const path = "../../clients/vectors.json"
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := encode(all())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: go run ./internal/vectors > clients/vectors.json", path)
	}
}

func TestCases_HaveUniqueNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range all().Cases {
		if seen[c.Name] {
			t.Errorf("two cases have the name %q", c.Name)
		}
		seen[c.Name] = true
	}
}
