// SPDX-License-Identifier: Apache-2.0

// Package harness runs real processes for black-box tests: the distribution's
// own binary and the servers that it talks to.
//
// It keeps four promises to the tests that use it. A port that [FreePort]
// gives is given once in this process and is never used by an outgoing
// connection of the machine. A [Process] ends with the test that started it,
// and its output is printed when the test has failed. [Await] waits for an
// event and, when the event does not come, says what was seen instead. A
// server that [Build] builds is built once for each set of pinned versions and
// kept in the user's cache.
//
// All functions may be called from several goroutines; those that take a
// testing.TB end the test with Fatal and so belong in the test's goroutine.
package harness
