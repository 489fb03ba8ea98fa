// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/agent"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/otelcol-custom/otelcol-custom/receiver/jaegerreceiver/internal/metadata"
	"github.com/otelcol-custom/otelcol-custom/receiver/jaegerreceiver/internal/metadatatest"
	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// batch has one span for each name.
func batch(names ...string) *jaeger.Batch {
	b := &jaeger.Batch{Process: &jaeger.Process{ServiceName: "shop"}, Spans: []*jaeger.Span{}}
	for i, name := range names {
		b.Spans = append(b.Spans, &jaeger.Span{TraceIdLow: 1, SpanId: int64(i + 1), OperationName: name})
	}
	return b
}

// encoding is one of Thrift's with the transport that it is used on.
type encoding struct {
	key, transport string
	factory        thrift.TProtocolFactory
}

func encodings() []encoding {
	return []encoding{
		{"thrift_compact", transportCompact, thrift.NewTCompactProtocolFactoryConf(nil)},
		{"thrift_binary", transportBinary, thrift.NewTBinaryProtocolFactoryConf(nil)},
	}
}

// datagram is a call of emitBatch as a Jaeger client writes it.
func (e encoding) datagram(tb testing.TB, b *jaeger.Batch) []byte {
	tb.Helper()
	buffer := thrift.NewTMemoryBuffer()
	require.NoError(tb, agent.NewAgentClientFactory(buffer, e.factory).EmitBatch(context.Background(), b))
	return buffer.Bytes()
}

func send(tb testing.TB, address string, data []byte) net.Addr {
	tb.Helper()
	conn, err := net.Dial("udp", address)
	require.NoError(tb, err)
	defer conn.Close()
	_, err = conn.Write(data)
	require.NoError(tb, err)
	return conn.LocalAddr()
}

func start(tb testing.TB, set receiver.Settings, next consumer.Traces, protocols map[string]any) receiver.Traces {
	tb.Helper()
	cfg := load(tb, confmap.NewFromStringMap(map[string]any{"protocols": protocols}))
	r, err := NewFactory().CreateTraces(context.Background(), set, cfg, next)
	require.NoError(tb, err)
	require.NoError(tb, r.Start(context.Background(), componenttest.NewNopHost()))
	tb.Cleanup(func() { require.NoError(tb, r.Shutdown(context.Background())) })
	return r
}

func nop() receiver.Settings { return receivertest.NewNopSettings(metadata.Type) }

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, time.Millisecond, what)
}

func names(sink *consumertest.TracesSink) []string {
	var list []string
	for _, td := range sink.AllTraces() {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					list = append(list, span.Name())
				}
			}
		}
	}
	return list
}

func TestUDP(t *testing.T) {
	for _, e := range encodings() {
		t.Run(e.key, func(t *testing.T) {
			sink := new(consumertest.TracesSink)
			address := harness.FreeAddress(t)
			start(t, nop(), sink, map[string]any{e.key: map[string]any{"endpoint": address, "socket_buffer_size": 1 << 16}})
			from := send(t, address, e.datagram(t, batch("one", "two")))
			await(t, "the spans", func() bool { return sink.SpanCount() == 2 })
			assert.Equal(t, []string{"one", "two"}, names(sink))
			service, _ := sink.AllTraces()[0].ResourceSpans().At(0).Resource().Attributes().Get("service.name")
			assert.Equal(t, "shop", service.Str())
			assert.Equal(t, from.String(), client.FromContext(sink.Contexts()[0]).Addr.String(), "the sender is known")
		})
	}
}

// What is dropped is counted with its reason and logged once.
func TestDropped(t *testing.T) {
	for _, e := range encodings() {
		whole := e.datagram(t, batch("one"))
		call := func(method string) []byte {
			buffer := thrift.NewTMemoryBuffer()
			p := e.factory.GetProtocol(buffer)
			require.NoError(t, p.WriteMessageBegin(t.Context(), method, thrift.ONEWAY, 1))
			require.NoError(t, p.WriteFieldStop(t.Context()))
			return buffer.Bytes()
		}
		for name, test := range map[string]struct {
			data   []byte
			reason string
		}{
			"nothing":                {nil, "malformed"},
			"text":                   {[]byte("GET / HTTP/1.1\r\n\r\n"), "malformed"},
			"cut short by one":       {whole[:len(whole)-1], "malformed"},
			"no batch":               {call("emitBatch"), "malformed"},
			"Zipkin's method":        {call("emitZipkinBatch"), "unsupported"},
			"an unknown method":      {call("rm"), "unsupported"},
			"larger than allowed":    {append(bytes.Clone(whole), make([]byte, 300)...), "too_large"},
			"as large as is allowed": {append(bytes.Clone(whole), make([]byte, 300-len(whole))...), ""},
		} {
			t.Run(e.key+" "+name, func(t *testing.T) {
				sink := new(consumertest.TracesSink)
				address := harness.FreeAddress(t)
				reader := componenttest.NewTelemetry()
				core, logs := observer.New(zap.WarnLevel)
				set := metadatatest.NewSettings(reader)
				set.Logger = zap.New(core)
				start(t, set, sink, map[string]any{e.key: map[string]any{"endpoint": address, "max_packet_size": 300, "workers": 1}})
				for range 3 {
					send(t, address, test.data)
				}
				send(t, address, e.datagram(t, batch("last")))
				await(t, "the next good one", func() bool {
					got := names(sink)
					return len(got) > 0 && got[len(got)-1] == "last"
				})
				if test.reason == "" {
					assert.Equal(t, []string{"one", "one", "one", "last"}, names(sink))
					assert.Empty(t, logs.All())
					return
				}
				assert.Equal(t, []string{"last"}, names(sink))
				assertDropped(t, reader, test.reason, e.transport, 3)
				require.Len(t, logs.All(), 1)
				assert.Equal(t, test.reason, logs.All()[0].ContextMap()["reason"])
			})
		}
	}
}

func assertDropped(t *testing.T, reader *componenttest.Telemetry, reason, transport string, n int64) {
	t.Helper()
	metadatatest.AssertEqualReceiverJaegerDroppedDatagrams(t, reader, []metricdata.DataPoint[int64]{
		{Attributes: attribute.NewSet(attribute.String("reason", reason), attribute.String("transport", transport)), Value: n},
	}, metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
}

// gate is a consumer that lets one batch pass each time it is told to.
type gate struct {
	consumertest.TracesSink
	entered, pass chan struct{}
}

func (g *gate) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	g.entered <- struct{}{}
	<-g.pass
	return g.TracesSink.ConsumeTraces(ctx, td)
}

// With one worker busy and a queue of two, the fourth datagram is one too many. What
// is in the queue when the receiver is shut down is still handed on.
func TestQueueFullAndDrain(t *testing.T) {
	e := encodings()[0]
	next := &gate{entered: make(chan struct{}, 10), pass: make(chan struct{})}
	address := harness.FreeAddress(t)
	reader := componenttest.NewTelemetry()
	r := start(t, metadatatest.NewSettings(reader), next, map[string]any{
		e.key: map[string]any{"endpoint": address, "workers": 1, "queue_size": 2},
	})
	send(t, address, e.datagram(t, batch("1")))
	<-next.entered
	for _, name := range []string{"2", "3", "4"} {
		send(t, address, e.datagram(t, batch(name)))
	}
	await(t, "the drop", func() bool {
		_, err := reader.GetMetric("otelcol_receiver_jaeger_dropped_datagrams")
		return err == nil
	})
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	select {
	case <-done:
		t.Error("the shutdown did not wait for what is in the queue")
	case <-time.After(50 * time.Millisecond):
	}
	close(next.pass)
	require.NoError(t, <-done)
	assert.Equal(t, []string{"1", "2", "3"}, names(&next.TracesSink))
	assertDropped(t, reader, "queue_full", transportCompact, 1)
}

func TestHTTP(t *testing.T) {
	var refuse error
	sink := new(consumertest.TracesSink)
	next, err := consumer.NewTraces(func(ctx context.Context, td ptrace.Traces) error {
		if refuse != nil {
			return refuse
		}
		return sink.ConsumeTraces(ctx, td)
	})
	require.NoError(t, err)
	address := harness.FreeAddress(t)
	start(t, nop(), next, map[string]any{"thrift_http": map[string]any{"endpoint": address, "max_request_body_size": 1000}})
	whole, err := thrift.NewTSerializer().Write(t.Context(), batch("one"))
	require.NoError(t, err)
	whole = bytes.Clone(whole)
	none, err := thrift.NewTSerializer().Write(t.Context(), batch())
	require.NoError(t, err)
	none = bytes.Clone(none)

	for _, test := range []struct {
		name, method, path, contentType string
		body                            []byte
		refuse                          error
		code                            int
	}{
		{"whole", http.MethodPost, "/api/traces", "application/x-thrift", whole, nil, http.StatusAccepted},
		{"format in the query", http.MethodPost, "/api/traces?format=jaeger.thrift", "application/vnd.apache.thrift.binary", whole, nil, http.StatusAccepted},
		{"charset", http.MethodPost, "/api/traces", "application/x-thrift; charset=utf-8", whole, nil, http.StatusAccepted},
		{"no spans", http.MethodPost, "/api/traces", "application/x-thrift", none, errors.New("not asked"), http.StatusAccepted},
		{"cut short", http.MethodPost, "/api/traces", "application/x-thrift", whole[:len(whole)-1], nil, http.StatusBadRequest},
		{"empty", http.MethodPost, "/api/traces", "application/x-thrift", nil, nil, http.StatusBadRequest},
		{"no content type", http.MethodPost, "/api/traces", "", whole, nil, http.StatusBadRequest},
		{"JSON", http.MethodPost, "/api/traces", "application/json", whole, nil, http.StatusBadRequest},
		{"too large", http.MethodPost, "/api/traces", "application/x-thrift", make([]byte, 1001), nil, http.StatusRequestEntityTooLarge},
		{"GET", http.MethodGet, "/api/traces", "application/x-thrift", nil, nil, http.StatusMethodNotAllowed},
		{"elsewhere", http.MethodPost, "/api/spans", "application/x-thrift", whole, nil, http.StatusNotFound},
		{"the pipeline refuses", http.MethodPost, "/api/traces", "application/x-thrift", whole, errors.New("no room"), http.StatusInternalServerError},
	} {
		t.Run(test.name, func(t *testing.T) {
			refuse = test.refuse
			before := sink.SpanCount()
			req, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+address+test.path, bytes.NewReader(test.body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", test.contentType)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, test.code, resp.StatusCode, string(text))
			want := before
			if test.code == http.StatusAccepted && test.name != "no spans" {
				want++
			}
			assert.Equal(t, want, sink.SpanCount())
		})
	}
}

// gRPC is upstream's; it is there.
func TestGRPC(t *testing.T) {
	sink := new(consumertest.TracesSink)
	address := harness.FreeAddress(t)
	start(t, nop(), sink, map[string]any{"grpc": map[string]any{"endpoint": address}})
	conn, err := grpc.NewClient("passthrough:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	_, err = api_v2.NewCollectorServiceClient(conn).PostSpans(t.Context(), &api_v2.PostSpansRequest{Batch: model.Batch{
		Process: &model.Process{ServiceName: "shop"}, Spans: []*model.Span{{SpanID: 1, OperationName: "one"}},
	}})
	require.NoError(t, err)
	assert.Equal(t, []string{"one"}, names(sink))
}

// A port that is taken stops the collector with a message that has it, and leaves
// nothing behind.
func TestPortTaken(t *testing.T) {
	for _, key := range []string{"thrift_compact", "thrift_binary", "thrift_http", "grpc"} {
		t.Run(key, func(t *testing.T) {
			protocols, address := map[string]any{}, ""
			for _, k := range []string{"thrift_compact", "thrift_binary", "thrift_http", "grpc"} {
				a := harness.FreeAddress(t)
				protocols[k] = map[string]any{"endpoint": a}
				if k == key {
					address = a
				}
			}
			if strings.HasPrefix(key, "thrift_") && key != "thrift_http" {
				taken, err := net.ListenPacket("udp", address)
				require.NoError(t, err)
				defer taken.Close()
			} else {
				taken, err := net.Listen("tcp", address)
				require.NoError(t, err)
				defer taken.Close()
			}
			cfg := load(t, confmap.NewFromStringMap(map[string]any{"protocols": protocols}))
			r, err := NewFactory().CreateTraces(t.Context(), nop(), cfg, consumertest.NewNop())
			require.NoError(t, err)
			require.ErrorContains(t, r.Start(t.Context(), componenttest.NewNopHost()), address)
			require.NoError(t, r.Shutdown(t.Context()))
		})
	}
}

func TestShutdownTwiceAndUnstarted(t *testing.T) {
	protocols := map[string]any{}
	for _, k := range []string{"thrift_compact", "thrift_binary", "thrift_http", "grpc"} {
		protocols[k] = map[string]any{"endpoint": harness.FreeAddress(t)}
	}
	cfg := load(t, confmap.NewFromStringMap(map[string]any{"protocols": protocols}))
	var unstarted component.Component
	unstarted, err := NewFactory().CreateTraces(t.Context(), nop(), cfg, consumertest.NewNop())
	require.NoError(t, err)
	require.NoError(t, unstarted.Shutdown(t.Context()))

	started := start(t, nop(), consumertest.NewNop(), protocols)
	require.NoError(t, started.Shutdown(t.Context()))
	require.NoError(t, started.Shutdown(t.Context()))
}
