// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc/tap"
)

// By gRPC, a request's bytes are kept until all of them are there, and only then does
// anybody learn how many they are. One that takes long is therefore given room for the
// largest there may be, or cancelled, and is cancelled when it takes as long as HTTP's
// read_timeout in our configurations.
const (
	uploadGrace   = 100 * time.Millisecond
	uploadLimit   = 20 * time.Second
	uploadReserve = 4 << 20 // bytes; gRPC's default for max_recv_msg_size_mib, which our configurations have
)

var errSlow = fmt.Errorf("it was not all there after %v", uploadLimit)

// upload is a request by gRPC from its header until it is decoded.
type upload struct {
	limits *limits
	client netip.Addr
	cancel context.CancelFunc // ends the request; clients send it again

	mu       sync.Mutex
	timer    *time.Timer
	reserved bool
	done     bool
	reason   error
}

type uploadKey struct{}

// tap is told of a request when its header is there.
func (r *refusals) tap(ctx context.Context, _ *tap.Info) (context.Context, error) {
	client, _ := clientOf(ctx)
	u := &upload{limits: &r.limits, client: client}
	ctx, u.cancel = context.WithCancel(ctx)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer = time.AfterFunc(uploadGrace, func() { u.overdue(ctx) })
	return context.WithValue(ctx, uploadKey{}, u), nil
}

// overdue finds room for what is not there yet.
func (u *upload) overdue(ctx context.Context) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done || ctx.Err() != nil {
		return
	}
	if !u.limits.take(u.client, uploadReserve) {
		u.end(errFull)
		return
	}
	u.reserved = true
	u.timer = time.AfterFunc(uploadLimit, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.end(errSlow)
	})
	context.AfterFunc(ctx, u.finish)
}

// end ends the request, unless all of it came at last. It is called with mu held.
func (u *upload) end(reason error) {
	if !u.done {
		u.reason = reason
		u.cancel()
	}
}

// cancelled returns why the request was cancelled, nil when it was not, or by the client.
func (u *upload) cancelled() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.reason
}

// finish is called when all is there, and when the request ends before that.
func (u *upload) finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return
	}
	u.done = true
	u.timer.Stop()
	if u.reserved {
		u.limits.release(u.client, uploadReserve)
	}
}
