package kv

import (
	"hash/maphash"
	"sync/atomic"
)

// decodeCache holds decoded records by their encoded bytes, so that an entry is never stale. Redis is
// still read every time; but a record is written once and read on every request, and decoding the same
// bytes again took an eighth of a request.
//
// Values are shared: callers must not modify what their pointers and slices refer to.
type decodeCache[T any] struct {
	seed  maphash.Seed
	slots [decodeCacheSlots]atomic.Pointer[decodeCacheEntry[T]]
}

// decodeCacheSlots bounds the memory: a record takes about 400 bytes, at most 8 KiB.
const decodeCacheSlots = 1024

type decodeCacheEntry[T any] struct {
	raw   string
	value T
}

func newDecodeCache[T any]() *decodeCache[T] { return &decodeCache[T]{seed: maphash.MakeSeed()} }

// decode returns parse(raw), which must depend on raw alone.
func (c *decodeCache[T]) decode(raw []byte, parse func([]byte) (T, bool)) (T, bool) {
	slot := &c.slots[maphash.Bytes(c.seed, raw)%decodeCacheSlots]
	if entry := slot.Load(); entry != nil && entry.raw == string(raw) {
		return entry.value, true
	}
	value, ok := parse(raw)
	if ok {
		slot.Store(&decodeCacheEntry[T]{string(raw), value})
	}
	return value, ok
}
