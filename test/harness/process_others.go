// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package harness

import (
	"syscall"
	"testing"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

// PeakMemory is known on Linux only.
func (*Process) PeakMemory(tb testing.TB) int {
	tb.Helper()
	tb.Skip("the memory of a process is read from Linux's /proc")
	return 0
}

// OwnMemory is known on Linux only.
func (*Process) OwnMemory(tb testing.TB) int {
	tb.Helper()
	tb.Skip("the memory of a process is read from Linux's /proc")
	return 0
}

// Listening is known on Linux only.
func (*Process) Listening(tb testing.TB) []string {
	tb.Helper()
	tb.Skip("the sockets of a process are read from Linux's /proc")
	return nil
}
