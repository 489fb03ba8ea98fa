// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/tap"
)

// uploadLimit is for a request to be there whole, its wait for a place included: gRPC has
// no limit of its own. HTTP's is the server's read_timeout.
const uploadLimit = 20 * time.Second

// upload is a request by gRPC from its header until it is there whole.
type upload struct {
	timer *time.Timer
	ended func()
	slow  atomic.Bool // it took longer than uploadLimit, and was cancelled; clients send it again
}

type uploadKey struct{}

// Requests that wait for a place hold a stream's window each; more than these are told
// to come again.
const (
	arrivingOfAll     = 1024
	arrivingOfAddress = arrivingOfAll / 2
)

// arriving counts requests that are not there whole.
type arriving struct {
	mu  sync.Mutex
	all int
	of  map[netip.Addr]int
}

func (a *arriving) enter(client netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all >= arrivingOfAll || a.of[client] >= arrivingOfAddress {
		return false
	}
	if a.of == nil {
		a.of = map[netip.Addr]int{}
	}
	a.all++
	a.of[client]++
	return true
}

func (a *arriving) exit(client netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
	if a.of[client]--; a.of[client] == 0 {
		delete(a.of, client)
	}
}

// tap is told of a request when its header is there.
func (r *refusals) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	client, address := clientOf(ctx)
	if !r.arriving.enter(client) {
		r.refused(ctx, refusal{transport: "grpc", status: codes.Unavailable.String(), reason: errFull, target: info.FullMethodName, client: address})
		return ctx, full
	}
	u := &upload{ended: sync.OnceFunc(func() { r.arriving.exit(client) })}
	ctx, cancel := context.WithCancel(ctx)
	u.timer = time.AfterFunc(r.uploadLimit, func() {
		u.slow.Store(true)
		cancel()
	})
	context.AfterFunc(ctx, u.whole)
	return context.WithValue(ctx, uploadKey{}, u), nil
}

// whole is called when all is there, and when the request ends before that.
func (u *upload) whole() {
	u.timer.Stop()
	u.ended()
}

// err returns why the request was cancelled, nil when it was not, or by the client.
func (u *upload) err() error {
	if !u.slow.Load() {
		return nil
	}
	return fmt.Errorf("it was not there whole in time, which is %v", uploadLimit)
}
