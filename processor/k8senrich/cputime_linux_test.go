// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime returns how long this thread has had a CPU.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
