// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
)

// by is how telemetry says which pod it is from.
type by string

const (
	byAddress by = "address" // it comes from the pod's
	byUID     by = "UID"
	byIP      by = "IP" // the pod's, in an attribute
)

// heldUp is longer than any request may take.
const heldUp = 5 * time.Second

// stream is what one pod sends in one way.
type stream struct {
	pod  *corev1.Pod
	by   by
	want map[string]any // what its resources come out with once the pod is known
}

// traffic is a span of each stream every now and then, without an end. What arrives is
// compared with what the pod that has sent it is: all of a resource is right, or not
// there yet.
type traffic struct {
	shop    *shop
	backend *otlpserver.Server
	address string
	every   time.Duration

	stopped, done chan struct{}

	mu      sync.Mutex
	streams []*stream
	conns   map[string]*grpc.ClientConn // by the address they come from
	sent    int                         // spans; they are numbered from 0
	of      []*stream                   // each span's
	failed  []error
	slowest time.Duration

	seen     int             // batches at the backend that were looked at
	arrived  map[int]int     // how often each span
	complete map[*stream]int // number of the last span that came with all
	bare     map[*stream]int // of the last that came without all
	wrong    []wrong
}

// wrong is an attribute of a span that is not its pod's.
type wrong struct {
	number int
	stream *stream
	key    string
	value  any
}

func (w wrong) String() string {
	return fmt.Sprintf("span %d of %s by %s has %s %v, want %v", w.number, w.stream.pod.Name, w.stream.by, w.key, w.value, w.stream.want[w.key])
}

// backendOf makes a backend and the environment that leads to it.
func backendOf(t *testing.T) (*otlpserver.Server, map[string]string) {
	t.Helper()
	server := otlpserver.Start(t, otlpserver.Config{})
	return server, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + server.GRPC}
}

func startTraffic(t *testing.T, s *shop, c *collector.Collector, backend *otlpserver.Server, every time.Duration) *traffic {
	t.Helper()
	f := &traffic{
		shop: s, backend: backend, address: c.GRPC(t), every: every,
		stopped: make(chan struct{}), done: make(chan struct{}),
		conns: map[string]*grpc.ClientConn{}, arrived: map[int]int{}, complete: map[*stream]int{}, bare: map[*stream]int{},
	}
	go func() {
		defer close(f.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-f.stopped:
				return
			case <-ticker.C:
				f.sendAll()
			}
		}
	}()
	t.Cleanup(f.stop)
	return f
}

// add lets a pod send.
func (f *traffic) add(t *testing.T, pod *corev1.Pod, how by) *stream {
	t.Helper()
	ip := "127.0.0.1"
	st := &stream{pod: pod, by: how, want: with(f.shop.attributes(pod), map[string]any{
		"service.name": "web", "ai.cloud.role": "web", "ai.cloud.roleInstance": pod.Name,
		"sent.from": string(pod.UID), "sent.by": string(how),
	})}
	if how == byAddress {
		ip = pod.Status.PodIP
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns[ip] == nil {
		f.conns[ip] = (&from{ip: ip}).connect(t, f.address)
	}
	f.streams = append(f.streams, st)
	return st
}

// remove ends a pod, which sends no more.
func (f *traffic) remove(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rest []*stream
	for _, st := range f.streams {
		if st.pod.UID != pod.UID {
			rest = append(rest, st)
		}
	}
	f.streams = rest
}

// sendAll sends a span of each stream, in one request for each connection.
func (f *traffic) sendAll() {
	f.mu.Lock()
	requests := map[*grpc.ClientConn]ptrace.Traces{}
	for _, st := range f.streams {
		conn := f.conns["127.0.0.1"]
		if st.by == byAddress {
			conn = f.conns[st.pod.Status.PodIP]
		}
		if _, ok := requests[conn]; !ok {
			requests[conn] = ptrace.NewTraces()
		}
		st.span(requests[conn], f.sent)
		f.of = append(f.of, st)
		f.sent++
	}
	f.mu.Unlock()
	for conn, td := range requests {
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), heldUp)
		err := export(ctx, conn, td)
		cancel()
		f.mu.Lock()
		f.slowest = max(f.slowest, time.Since(start))
		if err != nil {
			f.failed = append(f.failed, err)
		}
		f.mu.Unlock()
	}
}

func (st *stream) span(td ptrace.Traces, number int) {
	rs := td.ResourceSpans().AppendEmpty()
	attributes := rs.Resource().Attributes()
	attributes.PutStr("service.name", "web")
	attributes.PutStr("sent.from", string(st.pod.UID))
	attributes.PutStr("sent.by", string(st.by))
	switch st.by {
	case byUID:
		attributes.PutStr("k8s.pod.uid", string(st.pod.UID))
	case byIP:
		attributes.PutStr("k8s.pod.ip", st.pod.Status.PodIP)
	case byAddress:
	}
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetName("GET /")
	span.SetTraceID(pcommon.TraceID{1})
	var id pcommon.SpanID
	binary.BigEndian.PutUint64(id[:], 1<<63|uint64(number))
	span.SetSpanID(id)
}

// look takes in what has arrived since the last look.
func (f *traffic) look() {
	all := f.backend.Traces.AllTraces()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, td := range all[f.seen:] {
		for span, rs := range otlpserver.Spans(td) {
			id := span.SpanID()
			number := int(binary.BigEndian.Uint64(id[:]) &^ (1 << 63))
			f.arrived[number]++
			st := f.of[number]
			got := rs.Resource().Attributes().AsRaw()
			before := len(f.wrong)
			for key, value := range got {
				if value == "" { // the address of a pod that has none yet
					delete(got, key)
					continue
				}
				if !reflect.DeepEqual(st.want[key], value) {
					f.wrong = append(f.wrong, wrong{number, st, key, value})
				}
			}
			if len(f.wrong) > before {
				continue
			}
			if len(got) == len(st.want) {
				f.complete[st] = max(f.complete[st], number)
			} else {
				f.bare[st] = max(f.bare[st], number)
			}
		}
	}
	f.seen = len(all)
}

// now returns the number of the next span.
func (f *traffic) now() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// await waits until spans of these streams that were sent from now on come with all.
func (f *traffic) await(t *testing.T, what string, streams ...*stream) {
	t.Helper()
	f.awaitIn(t, what, func() map[*stream]int { return f.complete }, streams)
}

// awaitBare waits until spans of these streams that were sent from now on come
// without what their pods are.
func (f *traffic) awaitBare(t *testing.T, what string, streams ...*stream) {
	t.Helper()
	f.awaitIn(t, what, func() map[*stream]int { return f.bare }, streams)
}

func (f *traffic) awaitIn(t *testing.T, what string, which func() map[*stream]int, streams []*stream) {
	t.Helper()
	start, first := time.Now(), f.now()
	// client-go waits up to a minute before it asks again, and reads a token as
	// seldom.
	harness.AwaitFor(t, 2*time.Minute, what, func() error {
		f.look()
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, st := range streams {
			if which()[st] < first || first == 0 && which()[st] == 0 {
				return fmt.Errorf("none yet of %s by %s; %d attributes were wrong", st.pod.Name, st.by, len(f.wrong))
			}
		}
		return nil
	})
	t.Logf("%s: after %s", what, time.Since(start).Round(10*time.Millisecond))
}

// stop lets nobody send any more.
func (f *traffic) stop() {
	select {
	case <-f.stopped:
	default:
		close(f.stopped)
	}
	<-f.done
}

// settle ends the traffic: everything was taken at once, and has come once.
func (f *traffic) settle(t *testing.T) {
	t.Helper()
	f.stop()
	harness.Await(t, "all that was sent", func() error {
		f.look()
		if len(f.arrived) < f.sent {
			return fmt.Errorf("%d of %d spans have come", len(f.arrived), f.sent)
		}
		return nil
	})
	assert.Empty(t, f.failed)
	for number, times := range f.arrived {
		require.Equal(t, 1, times, "span %d", number)
	}
	t.Logf("%d spans sent and received, the slowest acknowledged after %s", f.sent, f.slowest.Round(time.Millisecond))
}

// right asserts that no telemetry had anything of a pod that is not its own.
func (f *traffic) right(t *testing.T) {
	t.Helper()
	if len(f.wrong) > 0 {
		require.Fail(t, "another pod's", "%s; and so on, %d attributes in all", f.wrong[0], len(f.wrong))
	}
}
