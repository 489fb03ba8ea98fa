// SPDX-License-Identifier: Apache-2.0

// Package monitoring holds the dashboard and the alert rules of
// deploy/monitoring, and what docs/deploy.md says of metrics, against what the
// built binary exposes.
package monitoring
