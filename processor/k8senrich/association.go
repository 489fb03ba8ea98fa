// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podwatch"
)

const attributePodIP = "k8s.pod.ip"

// association finds the pods that telemetry is from by their addresses.
type association struct {
	watcher *podwatch.Watcher
}

// sender is who has sent a batch.
type sender struct {
	*association
	pods  podwatch.View
	ip    netip.Addr // not valid if nobody knows
	owner owner      // of the address that was asked for last
}

// owner is an answer of [podwatch.View.ByAddress].
type owner struct {
	ip      netip.Addr
	uid     string
	created time.Time // the pod
	answer  podwatch.Owner
	stale   bool
}

func (a *association) sender(ctx context.Context) *sender {
	return &sender{association: a, pods: a.watcher.Pods.View(), ip: addressOf(client.FromContext(ctx).Addr)}
}

// addressOf returns an address that is not valid if there is none.
func addressOf(addr net.Addr) netip.Addr {
	var ip netip.Addr
	switch a := addr.(type) {
	case *net.TCPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	case *net.IPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	case *net.UDPAddr:
		ip, _ = netip.AddrFromSlice(a.IP)
	}
	return ip.Unmap()
}

// associate gives a resource the UID of the pod that it is from, unless it names a
// pod itself: by UID, or by name. At is a time of its telemetry, 0 if it has none: who
// sends is who has the address now, but what says itself which address it is from may
// have waited in a queue, and be older than the pod that has it now.
func (s *sender) associate(attrs pcommon.Map, at pcommon.Timestamp, n *tally) {
	if _, ok := attrs.Get(attributePodUID); ok {
		return
	}
	if str(attrs, attributePodName) != "" && str(attrs, attributeNamespace) != "" {
		return
	}
	said, ok := attrs.Get(attributePodIP)
	ip := s.ip
	switch {
	case ok:
		ip, _ = netip.ParseAddr(said.AsString())
		ip = ip.Unmap().WithZone("")
	case !ip.IsValid():
		n.noAddress++
		return
	default:
		attrs.EnsureCapacity(attrs.Len() + 2)
		// Who comes next may know whose it is, when nobody here does.
		attrs.PutStr(attributePodIP, ip.String())
	}
	o := s.ownerOf(ip)
	switch {
	case o.stale:
		n.addressStale++
	case o.answer == podwatch.OwnerContested:
		n.addressContested++
	case o.answer == podwatch.OwnerUnknown:
		n.addressUnknown++
	case ok && at != 0 && at.AsTime().Before(o.created):
		n.olderThanPod++
	default:
		attrs.PutStr(attributePodUID, o.uid)
		n.podAssociation++
	}
}

// ownerOf asks once where all resources of a batch have one address.
func (s *sender) ownerOf(ip netip.Addr) owner {
	if s.owner.ip != ip || !ip.IsValid() {
		s.owner = owner{ip: ip, stale: s.watcher.Stale()}
		s.owner.uid, s.owner.created, s.owner.answer = s.pods.ByAddress(ip)
	}
	return s.owner
}

// timeOfSpans returns when the first of the spans ended, 0 if there is none.
func timeOfSpans(rs ptrace.ResourceSpans) pcommon.Timestamp {
	for _, ss := range rs.ScopeSpans().All() {
		for _, span := range ss.Spans().All() {
			return span.EndTimestamp()
		}
	}
	return 0
}

// timeOfPoints returns the time of the first of the data points, 0 if there is none.
func timeOfPoints(rm pmetric.ResourceMetrics) pcommon.Timestamp {
	for _, sm := range rm.ScopeMetrics().All() {
		for _, metric := range sm.Metrics().All() {
			if at := timeOfMetric(metric); at != 0 {
				return at
			}
		}
	}
	return 0
}

func timeOfMetric(metric pmetric.Metric) pcommon.Timestamp {
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		return timeOfPoint(metric.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		return timeOfPoint(metric.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		return timeOfPoint(metric.Histogram().DataPoints())
	case pmetric.MetricTypeExponentialHistogram:
		return timeOfPoint(metric.ExponentialHistogram().DataPoints())
	case pmetric.MetricTypeSummary:
		return timeOfPoint(metric.Summary().DataPoints())
	case pmetric.MetricTypeEmpty:
	}
	return 0
}

func timeOfPoint[P interface{ Timestamp() pcommon.Timestamp }](points interface {
	Len() int
	At(int) P
},
) pcommon.Timestamp {
	if points.Len() == 0 {
		return 0
	}
	return points.At(0).Timestamp()
}

// timeOfRecords returns the time of the first of the log records, 0 if there is none.
func timeOfRecords(rl plog.ResourceLogs) pcommon.Timestamp {
	for _, sl := range rl.ScopeLogs().All() {
		for _, record := range sl.LogRecords().All() {
			return cmp.Or(record.Timestamp(), record.ObservedTimestamp())
		}
	}
	return 0
}
