package kv

import (
	"hash/maphash"
	"sync/atomic"
)

// readings remembers what records were read as. Redis is asked every time; but a record is
// written once and read on every request, and parsing the same bytes again took an eighth of a
// request. What is remembered is found by the bytes themselves, so that it cannot be out of date.
//
// The values are shared: nobody may change what is behind their pointers and slices.
type decodeCache[T any] struct {
	seed  maphash.Seed
	slots [decodeCacheSlots]atomic.Pointer[decodeCacheEntry[T]]
}

// readingSlots bounds the memory: a record has some 400 bytes, and at most 8 KiB.
const decodeCacheSlots = 1024

type decodeCacheEntry[T any] struct {
	raw   string
	value T
}

func newDecodeCache[T any]() *decodeCache[T] { return &decodeCache[T]{seed: maphash.MakeSeed()} }

// of returns parse(raw), which must depend on nothing but raw.
func (r *decodeCache[T]) decode(raw []byte, parse func([]byte) (T, bool)) (T, bool) {
	slot := &r.slots[maphash.Bytes(r.seed, raw)%decodeCacheSlots]
	if known := slot.Load(); known != nil && known.raw == string(raw) {
		return known.value, true
	}
	value, ok := parse(raw)
	if ok {
		slot.Store(&decodeCacheEntry[T]{string(raw), value})
	}
	return value, ok
}
