// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"net/netip"
	"sync"
)

// A call by gRPC is received, decompressed and decoded in a place. There are so many, and
// so many for one address; other calls wait, and hold no more of their message than a
// stream's window. So what calls hold before their size is known is at most a message for
// each place, however many come at once.
const (
	placesOfAll     = 32
	placesOfAddress = placesOfAll / 2
	streamWindow    = 64 << 10 // bytes; gRPC's lowest
)

// places is the places and who has them.
type places struct {
	all chan struct{}

	mu        sync.Mutex
	addresses map[netip.Addr]*placesOf // of calls that have a place or wait for one
}

type placesOf struct {
	taken chan struct{}
	calls int
}

func newPlaces() *places {
	return &places{all: make(chan struct{}, placesOfAll), addresses: map[netip.Addr]*placesOf{}}
}

// wait returns when the call has a place, which leave gives back, or an error when ctx is
// done before that.
func (p *places) wait(ctx context.Context, client netip.Addr) (leave func(), err error) {
	of := p.enter(client)
	select {
	case of.taken <- struct{}{}:
	case <-ctx.Done():
		p.exit(client, of)
		return nil, ctx.Err()
	}
	select {
	case p.all <- struct{}{}:
	case <-ctx.Done():
		<-of.taken
		p.exit(client, of)
		return nil, ctx.Err()
	}
	return func() {
		<-p.all
		<-of.taken
		p.exit(client, of)
	}, nil
}

func (p *places) enter(client netip.Addr) *placesOf {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.addresses[client]
	if of == nil {
		of = &placesOf{taken: make(chan struct{}, placesOfAddress)}
		p.addresses[client] = of
	}
	of.calls++
	return of
}

func (p *places) exit(client netip.Addr, of *placesOf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of.calls--; of.calls == 0 {
		delete(p.addresses, client)
	}
}
