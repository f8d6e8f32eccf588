package kv

import (
	"fmt"
	"sync"
	"testing"
)

func TestDecodeCache_ParsesOnce(t *testing.T) {
	r := newDecodeCache[string]()
	parsed := 0
	parse := func(b []byte) (string, bool) { parsed++; return "read " + string(b), string(b) != "bad" }
	for range 3 {
		if got, ok := r.decode([]byte("a"), parse); got != "read a" || !ok {
			t.Errorf("got %q, %t; want the decoded text", got, ok)
		}
	}
	if parsed != 1 {
		t.Errorf("the same bytes were parsed %d times, want once", parsed)
	}
	for range 2 {
		if _, ok := r.decode([]byte("bad"), parse); ok {
			t.Error("an invalid record was decoded")
		}
	}
	if parsed != 3 {
		t.Errorf("got %d calls of parse, want 3: an invalid record must not be cached", parsed)
	}
	// More records than slots: each one is decoded as itself, whatever its slot held before.
	for i := range 5 * decodeCacheSlots {
		text := fmt.Sprint(i)
		if got, ok := r.decode([]byte(text), parse); got != "read "+text || !ok {
			t.Fatalf("got %q, %t for %s", got, ok, text)
		}
	}
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 1000 {
				text := fmt.Sprint(i * g)
				if got, _ := r.decode([]byte(text), func(b []byte) (string, bool) { return "read " + string(b), true }); got != "read "+text {
					t.Errorf("got %q for %s", got, text)
				}
			}
		})
	}
	group.Wait()
}
