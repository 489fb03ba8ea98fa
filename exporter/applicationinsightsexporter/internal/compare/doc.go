// SPDX-License-Identifier: Apache-2.0

// Package compare has nothing but tests: what this exporter costs beside upstream's azuremonitor exporter. They
// are in a package of their own because upstream's leaves goroutines behind.
package compare
