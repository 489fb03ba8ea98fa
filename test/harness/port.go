// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports are taken from below the range from which systems take the local end
// of outgoing connections. From that range a port could be taken between its
// choice and its use, and a client that calls a server which is not up yet
// could be connected to itself.
const (
	firstPort = 11000
	lastPort  = 32000
)

var handedOut sync.Map

// FreePort returns a TCP and UDP port that was free on the loopback interface
// just now and that no other call in this process returns. It stays the
// caller's, so a server can be stopped and started on it again.
func FreePort(tb testing.TB) int {
	tb.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if _, taken := handedOut.LoadOrStore(port, true); !taken && isFree(port) {
			return port
		}
	}
	tb.Fatalf("no free port between %d and %d", firstPort, lastPort)
	return 0
}

// FreeAddress is [FreePort] as an address on 127.0.0.1.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(tb)))
}

func isFree(port int) bool {
	address := ":" + strconv.Itoa(port)
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return false
	}
	defer func() { _ = l.Close() }()
	p, err := config.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return false
	}
	return p.Close() == nil
}
