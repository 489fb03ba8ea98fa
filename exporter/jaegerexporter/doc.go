// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package jaegerexporter sends traces to a Jaeger collector in Jaeger's own
// protocol, gRPC's jaeger.api_v2.CollectorService, for Jaeger before 1.35, which
// takes no OTLP.
//
// A push turns each resource into calls of PostSpans, one after the other, each
// below the size that gRPC servers take. It returns what came of them: nil when
// nothing is left to send, a permanent error when Jaeger will take none of it, and
// otherwise an error that carries exactly the spans to send again: what Jaeger has
// acknowledged is not sent twice by a retry. What it refuses for good among what
// it takes is counted and logged here, since the queue sees one outcome only.
//
// Queue, batching and retry are exporterhelper's. Nothing is buffered behind them
// and the telemetry that is given is never changed.
//
// Pushes may run concurrently. Start and Shutdown follow the collector's rules;
// Shutdown may also be called twice, and gives up what is under way when its
// context ends.
package jaegerexporter
