// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

// keptFree is how many of each kind of buffer an exporter keeps. More pushes than that at once make buffers of
// their own.
const keptFree = 4

// freeList keeps things that are costly to make. Unlike a sync.Pool it keeps them across garbage collections:
// a collector that is mostly idle collects more often than it sends, and would grow every buffer anew.
type freeList[T any] chan *T

func newFreeList[T any]() freeList[T] { return make(chan *T, keptFree) }

// get returns nil when there is none.
func (l freeList[T]) get() *T {
	select {
	case v := <-l:
		return v
	default:
		return nil
	}
}

func (l freeList[T]) put(v *T) {
	select {
	case l <- v:
	default:
	}
}
