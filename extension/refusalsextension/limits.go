// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"errors"
	"fmt"
	"sync/atomic"
)

var errFull = errors.New("requests in progress take all of max_in_flight_mib; send it again later")

// limits are what requests may take in memory, in bytes.
type limits struct {
	decoded  int // one request
	inFlight int // all of them that are in progress
	used     atomic.Int64
}

// take reserves n bytes, or none of them.
func (l *limits) take(n int) bool {
	if l.used.Add(int64(n)) <= int64(l.inFlight) {
		return true
	}
	l.used.Add(-int64(n))
	return false
}

func (l *limits) release(n int) { l.used.Add(-int64(n)) }

// check returns an error for a request that is never taken: its size, or what was wrong
// when it was sized.
func (l *limits) check(size int, err error) error {
	if err == nil && size > l.decoded {
		return fmt.Errorf("it would take more than %d MiB decoded, which is max_decoded_mib", l.decoded>>20)
	}
	return err
}
