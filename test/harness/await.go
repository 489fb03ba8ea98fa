// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"testing"
	"time"
)

// The waits of a test are long, since they are only used up when it fails.
const (
	patience = 20 * time.Second
	poll     = 10 * time.Millisecond
)

// errStop marks an error after which waiting is of no use.
type errStop struct{ error }

func (e errStop) Unwrap() error { return e.error }

// GiveUp wraps an error for [Await]: it will not get better by waiting.
func GiveUp(err error) error { return errStop{err} }

// Await calls check until it returns nil. It ends the test after 20 seconds,
// or at once on a [GiveUp], with the last error of check.
func Await(tb testing.TB, what string, check func() error) {
	tb.Helper()
	AwaitFor(tb, patience, what, check)
}

// AwaitFor is [Await] with another limit.
func AwaitFor(tb testing.TB, limit time.Duration, what string, check func() error) {
	tb.Helper()
	start := time.Now()
	wait := poll
	for {
		err := check()
		if err == nil {
			return
		}
		if stop := new(errStop); errors.As(err, stop) || time.Since(start) > limit {
			tb.Fatalf("%s, after %s: %v", what, time.Since(start).Round(time.Millisecond), err)
		}
		time.Sleep(wait)
		wait = min(2*wait, 200*time.Millisecond)
	}
}
