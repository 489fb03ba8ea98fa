// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package applicationinsightsexporter sends traces, metrics and logs to the ingestion service of Azure
// Application Insights.
//
// A push maps telemetry to envelopes, one JSON document a line, and posts them in requests of limited size. It
// returns only when ingestion has answered for every item, and it returns what ingestion said: nil when every
// item was accepted (or refused for good, which is counted), and otherwise an error that carries exactly the
// telemetry to send again. Queue, batching and retry are exporterhelper's; there is no other queue behind them,
// so a batch leaves a persistent queue only when nothing of it is left to do.
//
// Of each answer the package asks, in this order: is it a redirect, which is followed if it may be; does its body
// account for every item, which then decides item by item; and else, what does the status say of them all.
//
// The exporter never changes the telemetry it is given, never turns cumulative metrics into deltas (there is a
// processor for that), never uses the name of its own host for anybody's role instance, and never sends
// credentials anywhere but to the configured host or, by redirect, to another host of the same Azure cloud.
//
// Pushes may run concurrently. Start and Shutdown follow the collector's rules.
package applicationinsightsexporter
