// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package refusalsextension is a middleware for HTTP and gRPC servers. It limits what
// requests take in memory once they are decoded, which the server's own limit, on bytes
// that came, does not; and it makes refused requests visible: it logs and counts those
// that a receiver answers as bad, which upstream's receivers do in silence, and answers
// 413 instead of 400 where an HTTP body is over the server's limit, as RFC 9110 has it.
//
// It also limits how many connections the process's servers have, package connections has
// how, whether they name the extension or not.
//
// A request is sized in its encoded form, by walking through it with a table of the
// messages of OTLP, Jaeger and Zipkin. One that is refused for its size is never decoded.
//
// It never changes or logs what a request holds, and leaves good requests and their
// answers as they are. A server that is full or broken for other reasons (5xx,
// Unavailable) is not its business: exporters and memory_limiter report that. All of it
// may be used concurrently.
package refusalsextension
