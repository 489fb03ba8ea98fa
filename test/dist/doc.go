// SPDX-License-Identifier: Apache-2.0

// Package dist tests the archives that users download: what is in them, that they
// are the same at each build, and that what is unpacked runs. The tests have the
// build tag e2e and build the last commit for linux/amd64.
package dist
