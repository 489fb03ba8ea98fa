// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/metadatatest"
)

const (
	uidOne = "8d9a2f6e-2f0b-4d0c-9f3e-000000000001"
	uidTwo = "8d9a2f6e-2f0b-4d0c-9f3e-000000000002"
)

var byAddress = m{"pod_association": m{"auth_type": "kubeConfig"}}

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 40312} }

func runs(ips ...string) podOption {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.PodIP = ips[0]
		p.Status.PodIPs = nil
		for _, ip := range ips {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
		}
	}
}

func TestPodAssociation(t *testing.T) {
	newFakeAPI(t,
		pod(uidOne, "one", container("web", "1", ""), runs("10.0.0.1", "fd00::1")),
		pod(uidTwo, "two", container("web", "2", ""), runs("10.0.0.2")),
	)
	r := started(t, byAddress)
	r.awaitPods(2)
	for name, tc := range map[string]struct {
		from    net.Addr
		in, out m
	}{
		"the connection's": {tcp("10.0.0.1"), m{"service.name": "web"}, m{"service.name": "web", "k8s.pod.ip": "10.0.0.1", "k8s.pod.uid": uidOne}},
		"HTTP's":           {&net.IPAddr{IP: net.ParseIP("10.0.0.1")}, m{}, m{"k8s.pod.ip": "10.0.0.1", "k8s.pod.uid": uidOne}},
		"UDP's":            {&net.UDPAddr{IP: net.ParseIP("10.0.0.2")}, m{}, m{"k8s.pod.ip": "10.0.0.2", "k8s.pod.uid": uidTwo}},
		"the other family": {tcp("fd00::1"), m{}, m{"k8s.pod.ip": "fd00::1", "k8s.pod.uid": uidOne}},
		"mapped":           {tcp("::ffff:10.0.0.1"), m{}, m{"k8s.pod.ip": "10.0.0.1", "k8s.pod.uid": uidOne}},
		"what it says is before the connection's": {
			tcp("10.0.0.1"), m{"k8s.pod.ip": "10.0.0.2"}, m{"k8s.pod.ip": "10.0.0.2", "k8s.pod.uid": uidTwo},
		},
		"an address that is none is not the connection's": {
			tcp("10.0.0.1"), m{"k8s.pod.ip": "here"}, m{"k8s.pod.ip": "here"},
		},
		"a UID says it all":      {tcp("10.0.0.1"), m{"k8s.pod.uid": uidTwo}, m{"k8s.pod.uid": uidTwo}},
		"an unknown UID as well": {tcp("10.0.0.1"), m{"k8s.pod.uid": "x"}, m{"k8s.pod.uid": "x"}},
		"names say it all": {
			tcp("10.0.0.1"), m{"k8s.namespace.name": "shop", "k8s.pod.name": "two"}, m{"k8s.namespace.name": "shop", "k8s.pod.name": "two"},
		},
		"names are before an address in it": {
			tcp("10.0.0.9"),
			m{"k8s.namespace.name": "shop", "k8s.pod.name": "two", "k8s.pod.ip": "10.0.0.1"},
			m{"k8s.namespace.name": "shop", "k8s.pod.name": "two", "k8s.pod.ip": "10.0.0.1"},
		},
		"what is no text stays": {
			tcp("10.0.0.1"), m{"k8s.pod.ip": int64(7), "k8s.pod.name": int64(7)}, m{"k8s.pod.ip": int64(7), "k8s.pod.name": int64(7)},
		},
		"an empty UID stays":     {tcp("10.0.0.1"), m{"k8s.pod.uid": ""}, m{"k8s.pod.uid": ""}},
		"an empty address stays": {tcp("10.0.0.1"), m{"k8s.pod.ip": ""}, m{"k8s.pod.ip": ""}},
		"one name does not": {
			tcp("10.0.0.1"), m{"k8s.namespace.name": "shop"}, m{"k8s.namespace.name": "shop", "k8s.pod.ip": "10.0.0.1", "k8s.pod.uid": uidOne},
		},
		"nobody's":        {tcp("10.0.0.9"), m{}, m{"k8s.pod.ip": "10.0.0.9"}},
		"no address":      {nil, m{"service.name": "web"}, m{"service.name": "web"}},
		"no IP address":   {&net.UnixAddr{Name: "/run/otel"}, m{}, m{}},
		"an address of 0": {&net.TCPAddr{}, m{}, m{}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.out, r.throughFrom(tc.from, tc.in)) })
	}
	assert.Empty(t, r.warnings())
}

// The resources of a batch may be of several pods.
func TestPodAssociationOfABatch(t *testing.T) {
	newFakeAPI(t, pod(uidOne, "one", runs("10.0.0.1")), pod(uidTwo, "two", runs("10.0.0.2")))
	r := started(t, byAddress)
	r.awaitPods(2)
	td := ptrace.NewTraces()
	want := []any{uidOne, uidTwo, uidOne, nil, uidTwo}
	for _, ip := range []string{"", "10.0.0.2", "", "10.0.0.3", "10.0.0.2"} {
		attrs := td.ResourceSpans().AppendEmpty().Resource().Attributes()
		if ip != "" {
			attrs.PutStr("k8s.pod.ip", ip)
		}
	}
	ctx := client.NewContext(t.Context(), client.Info{Addr: tcp("10.0.0.1")})
	require.NoError(t, r.traces.ConsumeTraces(ctx, td))
	var got []any
	for _, rs := range r.gotTraces.AllTraces()[0].ResourceSpans().All() {
		got = append(got, rs.Resource().Attributes().AsRaw()["k8s.pod.uid"])
	}
	assert.Equal(t, want, got)
}

// From the moment that the API server tells of its end an address is nobody's, until it
// tells whose it is next.
func TestPodAssociationAddressReused(t *testing.T) {
	api := newFakeAPI(t, pod(uidOne, "one", runs("10.0.0.1")))
	r := started(t, byAddress)
	r.awaitPods(1)
	of := func() any { return r.throughFrom(tcp("10.0.0.1"), m{})["k8s.pod.uid"] }
	assert.Equal(t, any(uidOne), of())
	api.remove(uidOne)
	r.await("the end", func() bool { return of() == nil })
	api.put(pod(uidTwo, "two", runs("10.0.0.1")))
	r.await("the next", func() bool { return of() == uidTwo })
}

// While the API server is away an address is still the pod's, for as long as is said.
func TestPodAssociationStale(t *testing.T) {
	for staleness, serves := range map[string]any{"10m": uidOne, "0s": nil} {
		t.Run(staleness, func(t *testing.T) {
			api := newFakeAPI(t, pod(uidOne, "one", runs("10.0.0.1")))
			r := started(t, m{"pod_association": m{"auth_type": "kubeConfig", "max_staleness": staleness}})
			r.awaitPods(1)
			of := func() any { return r.throughFrom(tcp("10.0.0.1"), m{})["k8s.pod.uid"] }
			assert.Equal(t, any(uidOne), of())
			api.down()
			r.await("the loss", func() bool { return len(r.host.seen()) > 0 })
			assert.Equal(t, serves, of())
			assert.Equal(t, "10.0.0.1", r.throughFrom(tcp("10.0.0.1"), m{})["k8s.pod.ip"])

			api.remove(uidOne)
			api.put(pod(uidTwo, "two", runs("10.0.0.1")))
			api.up()
			var before any
			r.await("the next", func() bool {
				uid := of()
				if uid != uidTwo {
					before = uid
				}
				return uid == uidTwo
			})
			assert.Equal(t, serves, before, "between")
		})
	}
}

// The association and the limits, which stand before and behind k8s_attributes, have
// one watch when they ask for the same.
func TestPodAssociationSharesTheWatch(t *testing.T) {
	for node, want := range map[string][]string{"": {"stream"}, "MY_NODE": {"stream", "stream"}} {
		t.Run(node, func(t *testing.T) {
			t.Setenv("MY_NODE", "node-1")
			api := newFakeAPI(t, pod(uidOne, "one", runs("10.0.0.1"), onNode("node-1"), container("web", "1", "")))
			limits := started(t, fromKubeConfig)
			limits.awaitPods(1)
			assoc := startedBy(t, limits.factory, m{"pod_association": m{"auth_type": "kubeConfig", "node_from_env_var": node}})
			assoc.await("the pod", func() bool { return assoc.throughFrom(tcp("10.0.0.1"), m{})["k8s.pod.uid"] == uidOne })
			assert.Equal(t, want, api.seen())
			for _, c := range limits.components() { // the watch goes on for the other
				require.NoError(t, c.Shutdown(t.Context()))
			}
			api.put(pod(uidTwo, "two", runs("10.0.0.2"), onNode("node-1")))
			assoc.await("a new pod", func() bool { return assoc.throughFrom(tcp("10.0.0.2"), m{})["k8s.pod.uid"] == uidTwo })
			assert.Equal(t, want, api.seen())
		})
	}
}

// What says itself which address it is from may be older than the pod that has the
// address now: it has waited in the queue of another collector. Who sends is who has the
// address.
func TestPodAssociationOfOldTelemetry(t *testing.T) {
	made := time.Unix(1_700_000_000, 0)
	p := pod(uidOne, "one", runs("10.0.0.1"))
	p.CreationTimestamp = metav1.NewTime(made)
	newFakeAPI(t, p)
	r := started(t, byAddress)
	r.awaitPods(1)
	for name, at := range map[string]time.Time{"before": made.Add(-time.Nanosecond), "since": made, "unknown": {}} {
		t.Run(name, func(t *testing.T) {
			of := pcommon.Timestamp(0)
			if !at.IsZero() {
				of = pcommon.NewTimestampFromTime(at)
			}
			for _, said := range []bool{true, false} {
				want := any(uidOne)
				if said && name == "before" {
					want = nil
				}
				got := r.allOf(tcp("10.0.0.1"), of, func(attrs pcommon.Map) {
					if said {
						attrs.PutStr("k8s.pod.ip", "10.0.0.1")
					}
				})
				for signal, attrs := range got {
					assert.Equal(t, want, attrs["k8s.pod.uid"], "%s, said: %t", signal, said)
				}
				assert.Len(t, got, 8)
			}
		})
	}
}

// allOf sends a resource with telemetry of a time, as each kind that there is, and returns
// the attributes that it comes out with.
func (r *rig) allOf(from net.Addr, at pcommon.Timestamp, set func(pcommon.Map)) map[string]m {
	r.t.Helper()
	ctx := client.NewContext(r.t.Context(), client.Info{Addr: from})
	got := map[string]m{}
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	set(rs.Resource().Attributes())
	rs.ScopeSpans().AppendEmpty()
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetStartTimestamp(1)
	span.SetEndTimestamp(at)
	require.NoError(r.t, r.traces.ConsumeTraces(ctx, td))
	got["span"] = rs.Resource().Attributes().AsRaw()

	for name, fill := range map[string]func(pmetric.Metric){
		"gauge":     func(x pmetric.Metric) { x.SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(at) },
		"sum":       func(x pmetric.Metric) { x.SetEmptySum().DataPoints().AppendEmpty().SetTimestamp(at) },
		"histogram": func(x pmetric.Metric) { x.SetEmptyHistogram().DataPoints().AppendEmpty().SetTimestamp(at) },
		"exponential": func(x pmetric.Metric) {
			x.SetEmptyExponentialHistogram().DataPoints().AppendEmpty().SetTimestamp(at)
		},
		"summary": func(x pmetric.Metric) { x.SetEmptySummary().DataPoints().AppendEmpty().SetTimestamp(at) },
	} {
		md := pmetric.NewMetrics()
		rm := md.ResourceMetrics().AppendEmpty()
		set(rm.Resource().Attributes())
		metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
		metrics.AppendEmpty()
		metrics.AppendEmpty().SetEmptyGauge()
		fill(metrics.AppendEmpty())
		require.NoError(r.t, r.metrics.ConsumeMetrics(ctx, md))
		got[name] = rm.Resource().Attributes().AsRaw()
	}
	for name, fill := range map[string]func(plog.LogRecord){
		"record": func(x plog.LogRecord) {
			x.SetTimestamp(at)
			x.SetObservedTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		},
		"observed": func(x plog.LogRecord) { x.SetObservedTimestamp(at) },
	} {
		ld := plog.NewLogs()
		rl := ld.ResourceLogs().AppendEmpty()
		set(rl.Resource().Attributes())
		fill(rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
		require.NoError(r.t, r.logsP.ConsumeLogs(ctx, ld))
		got[name] = rl.Resource().Attributes().AsRaw()
	}
	return got
}

// One processor may do both, while pods come and go.
func TestPodAssociationAndLimitsInOne(t *testing.T) {
	api := newFakeAPI(t, pod(uidOne, "one", runs("10.0.0.1"), container("web", "1", "")))
	r := started(t, m{"pod_association": m{"auth_type": "kubeConfig"}, "container_resources": m{"auth_type": "kubeConfig"}})
	r.awaitPods(1)
	assert.Equal(t, []string{"stream"}, api.seen())
	for i := range 100 {
		api.put(pod(uidTwo, "two", runs("10.0.0.2"), container("web", strconv.Itoa(i+1), "")))
		require.Equal(t, m{"k8s.pod.ip": "10.0.0.1", "k8s.pod.uid": uidOne, "k8s.container.cpu.limit": 1.0}, r.throughFrom(tcp("10.0.0.1"), m{}))
	}
	r.await("the last", func() bool { return r.throughFrom(tcp("10.0.0.2"), m{})["k8s.container.cpu.limit"] == 100.0 })
}

func TestPodAssociationTelemetry(t *testing.T) {
	api := newFakeAPI(t,
		pod(uidOne, "one", runs("10.0.0.1")),
		pod(uidTwo, "two", runs("10.0.0.2")),
		pod("8d9a2f6e-2f0b-4d0c-9f3e-000000000003", "three", runs("10.0.0.2")),
	)
	r := started(t, m{"pod_association": m{"auth_type": "kubeConfig", "max_staleness": "0s"}})
	r.awaitPods(3)
	for _, from := range []net.Addr{tcp("10.0.0.1"), tcp("10.0.0.2"), tcp("10.0.0.9"), tcp("10.0.0.9"), nil} {
		r.throughFrom(from, m{})
	}
	id := attribute.String("processor", "k8senrich")
	watching := func(n int64) {
		t.Helper()
		metadatatest.AssertEqualProcessorK8senrichWatching(t, r.tel, []metricdata.DataPoint[int64]{
			{Attributes: attribute.NewSet(id), Value: n},
		}, metricdatatest.IgnoreTimestamp())
	}
	watching(1)
	api.down()
	r.await("the loss", func() bool { return len(r.host.seen()) > 0 })
	watching(0)
	r.throughFrom(tcp("10.0.0.1"), m{})
	api.up()
	r.await("the return", func() bool { return len(r.host.seen()) == 6 })
	watching(1)

	count := func(key, value string, n int64) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{Attributes: attribute.NewSet(id, attribute.String(key, value)), Value: n}
	}
	metadatatest.AssertEqualProcessorK8senrichResources(t, r.tel, []metricdata.DataPoint[int64]{
		count("source", "pod_association", 1),
	}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualProcessorK8senrichMisses(t, r.tel, []metricdata.DataPoint[int64]{
		count("reason", "address_contested", 1), count("reason", "address_unknown", 2),
		count("reason", "no_address", 1), count("reason", "address_stale", 1),
	}, metricdatatest.IgnoreTimestamp())
}
