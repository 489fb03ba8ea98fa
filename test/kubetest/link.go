// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// Link is a way to the API server that can be cut while the API server stays
// up. TLS goes through it untouched.
type Link struct {
	// Address is where the way begins, on 127.0.0.1.
	Address string

	target   string
	mu       sync.Mutex
	listener net.Listener // nil while cut
	open     map[net.Conn]struct{}
	wg       sync.WaitGroup
}

// Link makes a way that is whole.
func (c *Cluster) Link(tb testing.TB) *Link {
	tb.Helper()
	l := &Link{Address: harness.FreeAddress(tb), target: c.Address, open: map[net.Conn]struct{}{}}
	l.Mend(tb)
	tb.Cleanup(l.Cut)
	return l
}

// Mend makes the way whole again.
func (l *Link) Mend(tb testing.TB) {
	tb.Helper()
	listener, err := net.Listen("tcp", l.Address)
	if err != nil {
		tb.Fatal(err)
	}
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	l.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { l.carry(conn) })
		}
	})
}

// Cut closes all connections and refuses new ones.
func (l *Link) Cut() {
	l.mu.Lock()
	if l.listener != nil {
		l.listener.Close()
		l.listener = nil
	}
	for conn := range l.open {
		conn.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *Link) carry(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer to.Close()
	l.mu.Lock()
	if l.listener == nil {
		l.mu.Unlock()
		return
	}
	l.open[from], l.open[to] = struct{}{}, struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, from)
		delete(l.open, to)
	}()
	var wg sync.WaitGroup
	wg.Go(func() { pipe(to, from) })
	wg.Go(func() { pipe(from, to) })
	wg.Wait()
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	// Whichever side ends, both end.
	to.Close()
	from.Close()
}
