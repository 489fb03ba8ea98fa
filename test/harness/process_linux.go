// SPDX-License-Identifier: Apache-2.0

package harness

import "syscall"

// dieWithParent has the system end the child when the test binary dies without
// running its clean-up, as it does when go test runs out of time.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
