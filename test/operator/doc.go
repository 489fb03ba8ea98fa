// SPDX-License-Identifier: Apache-2.0

// Package operator tests deploy/operator: with the OpenTelemetry Operator itself
// as a process in front of a real API server.
package operator
