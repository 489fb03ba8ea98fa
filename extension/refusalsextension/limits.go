// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

var errFull = errors.New("requests in progress take all of max_in_flight_mib, or half of it from this address; send it again later")

// limits are what requests may take in memory, in bytes.
type limits struct {
	decoded  int // one request
	inFlight int // all of them that are in progress; half of it those from one address

	mu     sync.Mutex
	used   int
	usedBy map[netip.Addr]int
}

// take reserves n bytes for a client, or none of them.
func (l *limits) take(client netip.Addr, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used+n > l.inFlight || l.usedBy[client]+n > l.inFlight/2 {
		return false
	}
	if l.usedBy == nil {
		l.usedBy = map[netip.Addr]int{}
	}
	l.used += n
	l.usedBy[client] += n
	return true
}

func (l *limits) release(client netip.Addr, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used -= n
	if l.usedBy[client] -= n; l.usedBy[client] == 0 {
		delete(l.usedBy, client)
	}
}

// check returns an error for a request that is never taken: its size, or what was wrong
// when it was sized.
func (l *limits) check(size int, err error) error {
	if err == nil && size > l.decoded {
		return fmt.Errorf("it would take more than %d MiB decoded, which is max_decoded_mib", l.decoded>>20)
	}
	return err
}

// addressOf returns the host of an address with a port, none when it has no such form:
// clients without one share what one may have.
func addressOf(hostport string) netip.Addr {
	address, _ := netip.ParseAddrPort(hostport)
	return address.Addr().Unmap()
}
