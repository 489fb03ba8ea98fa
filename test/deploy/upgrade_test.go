// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// retried are the codes after which OTLP's specification has an SDK try again.
var retried = []codes.Code{
	codes.Canceled, codes.DeadlineExceeded, codes.ResourceExhausted,
	codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss,
}

const spansEach = 20 // in a request

// apps are clients of a Service that send until they are stopped, and send again
// what is not acknowledged.
type apps struct {
	mu       sync.Mutex
	replicas []*telemetry.Client
	next     int   // span and request
	acked    []int // first span of each request that was acknowledged
	again    int   // times that a request was sent again
	wrong    []error
}

func (a *apps) run(ctx context.Context) {
	trace := telemetry.NewTraceID()
	for ctx.Err() == nil {
		a.mu.Lock()
		first := a.next
		a.next += spansEach
		a.mu.Unlock()
		td := telemetry.Numbered("shop", trace, first, spansEach)
		for attempt := 0; ; attempt++ {
			a.mu.Lock()
			client := a.replicas[(first/spansEach+attempt)%len(a.replicas)]
			a.mu.Unlock()
			once, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			err := client.Traces(once, td)
			cancel()
			a.mu.Lock()
			if err == nil {
				a.acked = append(a.acked, first)
			} else {
				a.again++
				if !slices.Contains(retried, status.Code(err)) {
					a.wrong = append(a.wrong, err)
				}
			}
			a.mu.Unlock()
			if err == nil || ctx.Err() != nil {
				break
			}
			select { // as an SDK, before it tries again
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// awaitMore waits for requests to be acknowledged from now on.
func (a *apps) awaitMore(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.acked)
	}
	want := count() + n
	harness.Await(t, "acknowledged requests", func() error {
		if got := count(); got < want {
			return fmt.Errorf("%d, want %d", got, want)
		}
		return nil
	})
}

// An upgrade in the middle of an outage: each replica of the gateway is replaced
// in turn while apps send and the backend is down. SIGTERM ends it in the time
// that the manifest leaves after the preStop hook, which waits in vain for the
// queue to become empty. Nothing that an app was told is safe is lost.
func TestUpgradeInAnOutage(t *testing.T) {
	c := kubetest.Start(t)
	c.Node(t, "node-1", nil)
	backend := otlpserver.New(t, otlpserver.Config{}) // down
	apply(t, c, kustomization(t, gateway, "otlp"))
	(&servers{otlp: backend}).secret(t, c, "otelcol-custom", "otlp")
	w := workloads(t, rendered(t, gateway, "otlp"))["gateway"]
	spec := w.template.Spec
	limit := time.Duration(*spec.TerminationGracePeriodSeconds)*time.Second - drainTimeout(t, collectorOf(t, &spec))

	n := &node{cluster: c, name: "node-1"}
	replicas := []*run{n.start(t, w, 0, ""), n.start(t, w, 1, "")}
	a := &apps{}
	for _, r := range replicas {
		a.replicas = append(a.replicas, dial(t, r))
	}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for range 4 {
		sending.Go(func() { a.run(ctx) })
	}
	defer sending.Wait()
	defer stop()
	a.awaitMore(t, 100)
	for i, old := range replicas {
		start := time.Now()
		old.Process.Stop(t, limit)
		t.Logf("%s ended %s after SIGTERM, of %s", old.pod.Name, time.Since(start).Round(time.Millisecond), limit)
		// The other one serves; some requests still come here, as they do until
		// every node knows that the pod has gone.
		a.awaitMore(t, 50)
		c.DeletePod(t, old.pod)
		replicas[i] = n.restart(t, w, i, "", old.root)
		client := dial(t, replicas[i])
		a.mu.Lock()
		a.replicas[i] = client
		a.mu.Unlock()
		replicas[i].AwaitMetric(t, 50*spansEach, "otelcol_receiver_accepted_spans")
	}
	stop()
	sending.Wait()
	assert.Empty(t, a.wrong, "errors after which an SDK does not try again")
	assert.Positive(t, a.again, "no app has noticed that a replica was away")
	assert.Empty(t, backend.SpanIDs())

	backend.Start(t)
	back := time.Now()
	twice := 0
	// gRPC looks for a backend that is away ever less often, every two minutes in the end.
	harness.AwaitFor(t, 3*time.Minute, "what was acknowledged", func() error {
		got := backend.SpanIDs()
		missing := 0
		twice = 0
		for _, first := range a.acked {
			for i := range spansEach {
				switch got[telemetry.NumberedID(first+i).String()] {
				case 0:
					missing++
				case 1:
				default:
					twice++
				}
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d spans are missing", missing, len(a.acked)*spansEach)
		}
		return nil
	})
	t.Logf("%d spans acknowledged, all arrived %s after the backend was back, %d of them more than once; %d requests were sent again",
		len(a.acked)*spansEach, time.Since(back).Round(time.Second), twice, a.again)
	for _, r := range replicas {
		r.Stop(t)
	}
}

// A replica that is scaled away in the middle of traffic leaves nothing on its
// volume while the backend is well: what it has acknowledged is delivered by the
// time that it has ended.
func TestScaledAway(t *testing.T) {
	c := kubetest.Start(t)
	c.Node(t, "node-1", nil)
	backend := otlpserver.Start(t, otlpserver.Config{})
	apply(t, c, kustomization(t, gateway, "otlp"))
	(&servers{otlp: backend}).secret(t, c, "otelcol-custom", "otlp")
	n := &node{cluster: c, name: "node-1"}
	r := n.start(t, workloads(t, rendered(t, gateway, "otlp"))["gateway"], 2, "")
	a := &apps{replicas: []*telemetry.Client{dial(t, r)}}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for range 4 {
		sending.Go(func() { a.run(ctx) })
	}
	defer sending.Wait()
	defer stop()
	a.awaitMore(t, 300)
	r.Stop(t)
	stop()
	sending.Wait()
	got := backend.SpanIDs()
	for _, first := range a.acked {
		for i := range spansEach {
			require.Positive(t, got[telemetry.NumberedID(first+i).String()], "span %d", first+i)
		}
	}
	t.Logf("%d spans acknowledged, all arrived", len(a.acked)*spansEach)
}

func dial(t *testing.T, r *run) *telemetry.Client {
	t.Helper()
	return telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, r)
}

// The front sends each trace whole to one replica of the sampling tier, and what
// was meant for a replica that has gone to one that is there.
func TestTiers(t *testing.T) {
	c := kubetest.Start(t)
	c.Node(t, "node-1", nil)
	apply(t, c, kustomization(t, tiers, "console"))
	found := workloads(t, rendered(t, tiers, "console"))
	n := &node{cluster: c, name: "node-1", hosts: map[string][]string{}}
	const samplingName, frontName = "otelcol-custom-sampling.otelcol-custom.svc", "otelcol-custom-front.otelcol-custom.svc"
	sampling := []*run{n.start(t, found["sampling"], 0, tierOverlay), n.start(t, found["sampling"], 1, tierOverlay)}
	for _, r := range sampling {
		n.hosts[samplingName] = append(n.hosts[samplingName], r.pod.Status.PodIP)
	}
	front := n.start(t, found["front"], 0, "")
	n.hosts[frontName] = []string{front.pod.Status.PodIP}
	entry := n.start(t, found["agent"], 0, "")

	const visits = 40
	sendVisits := func() (sent []*telemetry.Shop) {
		for range visits {
			v := telemetry.NewShop()
			send(t, entry, v)
			sent = append(sent, v)
		}
		return sent
	}
	given := make([]int, len(sampling))
	for _, v := range sendVisits() {
		harness.Await(t, "the trace", func() error {
			at := make([]int, len(sampling)) // spans
			for i, r := range sampling {
				at[i] = printed(r, v)
			}
			switch spans := v.Traces.SpanCount(); {
			case slices.Equal(at, []int{spans, 0}):
				given[0]++
			case slices.Equal(at, []int{0, spans}):
				given[1]++
			default:
				return fmt.Errorf("the replicas have %v spans of trace %s", at, v.TraceID)
			}
			return nil
		})
	}
	// That one has all is as likely as 40 coins that agree.
	assert.Positive(t, given[0])
	assert.Positive(t, given[1])
	t.Logf("traces at each replica: %v", given)

	// One ends. What comes before the front knows waits in its queue, and what is
	// sent anew may come twice.
	sampling[1].Stop(t)
	sent := sendVisits()
	front.Stderr.Await(t, "Exporting failed. Will retry")
	n.hosts[samplingName] = n.hosts[samplingName][:1]
	n.image(t, front.root)
	twice := 0
	for _, v := range sent {
		harness.AwaitFor(t, time.Minute, "the trace", func() error {
			if got := printed(sampling[0], v); got < v.Traces.SpanCount() {
				return fmt.Errorf("%d spans of trace %s", got, v.TraceID)
			}
			return nil
		})
		twice += printed(sampling[0], v) - v.Traces.SpanCount()
		assert.Zero(t, printed(sampling[1], v))
	}
	t.Logf("spans that came twice: %d", twice)
}

// printed counts the spans of a visit on a collector's console.
func printed(r *run, v *telemetry.Shop) int {
	return strings.Count(r.Stdout.String(), "    Trace ID       : "+v.TraceID.String())
}
