// SPDX-License-Identifier: Apache-2.0

// Package ingestion is a stand-in for the ingestion service of Application
// Insights, which has no server that can be run elsewhere. It is not the
// service: it knows the rules that are published, and no more. README.md lists
// them with their sources.
//
// A [Server] takes envelopes at /v2.1/track and /v2/track, checks each, keeps
// what it accepts and what it refuses, and answers as the service does. For
// the next requests a test can script other answers: any status, a refusal of
// some items, a hang, a reset connection, an answer cut off.
//
// A Server may be used by several goroutines. What its methods return is the
// caller's; envelopes are shared and are only to be read.
package ingestion
