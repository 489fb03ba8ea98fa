// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/tap"
)

// uploadLimit is for a request to be there whole, its wait for a place included: gRPC has
// no limit of its own. HTTP's is the server's read_timeout.
const uploadLimit = 20 * time.Second

// upload is a request by gRPC from its header until it is there whole.
type upload struct {
	timer *time.Timer
	slow  atomic.Bool // it took longer than uploadLimit, and was cancelled; clients send it again
}

type uploadKey struct{}

// tap is told of a request when its header is there.
func (r *refusals) tap(ctx context.Context, _ *tap.Info) (context.Context, error) {
	u := &upload{}
	ctx, cancel := context.WithCancel(ctx)
	u.timer = time.AfterFunc(r.uploadLimit, func() {
		u.slow.Store(true)
		cancel()
	})
	context.AfterFunc(ctx, u.whole)
	return context.WithValue(ctx, uploadKey{}, u), nil
}

// whole is called when all is there, and when the request ends before that.
func (u *upload) whole() { u.timer.Stop() }

// err returns why the request was cancelled, nil when it was not, or by the client.
func (u *upload) err() error {
	if !u.slow.Load() {
		return nil
	}
	return fmt.Errorf("it was not there whole in time, which is %v", uploadLimit)
}
