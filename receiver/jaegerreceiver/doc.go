// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package jaegerreceiver takes spans from Jaeger clients: by gRPC, by Thrift over
// HTTP, and by Thrift in UDP datagrams as Jaeger's agent did.
//
// gRPC is served by contrib's receiver of the same type, which this one has inside
// and whose keys it takes. Thrift is read here, because what comes by UDP comes from
// anybody: contrib's receiver ends the process on a datagram that calls
// emitZipkinBatch, and makes room for as many spans as a message of a few bytes
// claims to have. Here a message of n bytes makes room for n things at most, each is
// read by a decoder of its own, and a method other than emitBatch is refused.
//
// A datagram is read, put into a queue of limited length, decoded by a worker and
// handed on before the worker takes the next. What finds the queue full is dropped and
// counted, and so is what cannot be decoded: whole, never in part. The sender's
// address is in the context, so that k8s_attributes finds the pod.
//
// Start and Shutdown follow the collector's rules; Shutdown may also be called twice.
package jaegerreceiver
