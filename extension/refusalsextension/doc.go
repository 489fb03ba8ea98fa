// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package refusalsextension is a middleware for HTTP and gRPC servers that makes
// refused requests visible: it logs and counts those that a receiver answers as bad,
// which upstream's receivers do in silence, and it answers 413 instead of 400 where an
// HTTP body is over the server's limit, as RFC 9110 has it.
//
// It never reads, changes or logs what a request holds, and leaves good requests and
// their answers as they are. A server that is full or broken (5xx, Unavailable) is not
// its business: exporters and memory_limiter report that. It holds no state; all of it
// may be used concurrently.
package refusalsextension
