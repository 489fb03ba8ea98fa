// SPDX-License-Identifier: Apache-2.0

// Package oracle compares our Application Insights exporter with Microsoft's own, for Node.js and for Python:
// the same spans through the built binary and through theirs, envelope by envelope. README.md tells how to run it.
package oracle
