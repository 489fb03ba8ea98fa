// SPDX-License-Identifier: Apache-2.0

// Package compare has nothing but benchmarks of this exporter beside upstream's azuremonitor exporter, in a
// package of their own because upstream's leaves goroutines behind.
package compare
