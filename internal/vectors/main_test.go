package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTheFileIsUpToDate(t *testing.T) {
	const path = "../../clients/vectors.json"
	there, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	made, err := encode(all())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(there, made) {
		t.Errorf("%s is not what internal/vectors makes: go run ./internal/vectors > clients/vectors.json", path)
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range all().Cases {
		if seen[c.Name] {
			t.Errorf("two cases have the name %q", c.Name)
		}
		seen[c.Name] = true
	}
}
