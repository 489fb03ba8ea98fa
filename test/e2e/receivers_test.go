// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/agent"
	jaegerthrift "github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/zipkincore"
	zipkin "github.com/openzipkin/zipkin-go/model"
	"github.com/openzipkin/zipkin-go/proto/zipkin_proto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// thriftID is the id of spans as Thrift has it.
func thriftID[B ~[8]byte](id B) int64 { return int64(binary.BigEndian.Uint64(id[:])) }

func halves(id pcommon.TraceID) (high, low uint64) {
	return binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
}

// ride is a span as a client of Jaeger or Zipkin sends it.
type ride struct {
	trace                    pcommon.TraceID
	span, parent, other      pcommon.SpanID
	start                    time.Time // of full microseconds, which is all that these have
	duration, logged         time.Duration
	service, name, log, host string
}

func newRide() *ride {
	trace := telemetry.NewTraceID()
	id := func(b byte) pcommon.SpanID { return pcommon.SpanID(append([]byte{b}, trace[:7]...)) }
	return &ride{
		trace: trace, span: id(0xa1), parent: id(0xa2), other: id(0xa3),
		start: time.Now().Add(-time.Minute).Truncate(time.Microsecond).UTC(), duration: 1234 * time.Microsecond, logged: 56 * time.Microsecond,
		service: "driver", name: "GET /ride", log: "turn left", host: "car-7",
	}
}

func ptr[T any](v T) *T { return &v }

// thrift is the ride as Jaeger's clients write it.
func (r *ride) thrift() *jaegerthrift.Batch {
	high, low := halves(r.trace)
	return &jaegerthrift.Batch{
		Process: &jaegerthrift.Process{ServiceName: r.service, Tags: []*jaegerthrift.Tag{
			{Key: "hostname", VType: jaegerthrift.TagType_STRING, VStr: &r.host},
		}},
		Spans: []*jaegerthrift.Span{{
			TraceIdHigh: int64(high), TraceIdLow: int64(low), SpanId: thriftID(r.span), ParentSpanId: thriftID(r.parent),
			OperationName: r.name, Flags: 1, StartTime: r.start.UnixMicro(), Duration: r.duration.Microseconds(),
			References: []*jaegerthrift.SpanRef{
				{RefType: jaegerthrift.SpanRefType_CHILD_OF, TraceIdHigh: int64(high), TraceIdLow: int64(low), SpanId: thriftID(r.parent)},
				{RefType: jaegerthrift.SpanRefType_FOLLOWS_FROM, TraceIdHigh: int64(high), TraceIdLow: int64(low), SpanId: thriftID(r.other)},
			},
			Tags: []*jaegerthrift.Tag{
				{Key: "span.kind", VType: jaegerthrift.TagType_STRING, VStr: ptr("server")},
				{Key: "text", VType: jaegerthrift.TagType_STRING, VStr: ptr("naïve 値")},
				{Key: "long", VType: jaegerthrift.TagType_LONG, VLong: ptr(int64(-1 << 62))},
				{Key: "double", VType: jaegerthrift.TagType_DOUBLE, VDouble: ptr(0.25)},
				{Key: "bool", VType: jaegerthrift.TagType_BOOL, VBool: ptr(true)},
				{Key: "binary", VType: jaegerthrift.TagType_BINARY, VBinary: []byte{0, 0xff}},
				{Key: "error", VType: jaegerthrift.TagType_BOOL, VBool: ptr(true)},
			},
			Logs: []*jaegerthrift.Log{{Timestamp: r.start.Add(r.logged).UnixMicro(), Fields: []*jaegerthrift.Tag{
				{Key: "event", VType: jaegerthrift.TagType_STRING, VStr: &r.log},
				{Key: "metres", VType: jaegerthrift.TagType_LONG, VLong: ptr(int64(40))},
			}}},
		}},
	}
}

// proto is the same as Jaeger's agent hands it to the collector.
func (r *ride) proto() model.Batch {
	high, low := halves(r.trace)
	trace := model.TraceID{High: high, Low: low}
	id := func(id pcommon.SpanID) model.SpanID { return model.SpanID(thriftID(id)) }
	return model.Batch{
		Process: &model.Process{ServiceName: r.service, Tags: []model.KeyValue{model.String("hostname", r.host)}},
		Spans: []*model.Span{{
			TraceID: trace, SpanID: id(r.span), OperationName: r.name, Flags: 1, StartTime: r.start, Duration: r.duration,
			References: []model.SpanRef{
				{RefType: model.ChildOf, TraceID: trace, SpanID: id(r.parent)},
				{RefType: model.FollowsFrom, TraceID: trace, SpanID: id(r.other)},
			},
			Tags: []model.KeyValue{
				model.String("span.kind", "server"), model.String("text", "naïve 値"), model.Int64("long", -1<<62),
				model.Float64("double", 0.25), model.Bool("bool", true), model.Binary("binary", []byte{0, 0xff}), model.Bool("error", true),
			},
			Logs: []model.Log{{Timestamp: r.start.Add(r.logged), Fields: []model.KeyValue{
				model.String("event", r.log), model.Int64("metres", 40),
			}}},
		}},
	}
}

// zipkinV2 is the ride as far as Zipkin has it: tags are texts.
func (r *ride) zipkinV2() []*zipkin.SpanModel {
	high, low := halves(r.trace)
	parent := zipkin.ID(thriftID(r.parent))
	return []*zipkin.SpanModel{{
		SpanContext: zipkin.SpanContext{
			TraceID: zipkin.TraceID{High: high, Low: low}, ID: zipkin.ID(thriftID(r.span)), ParentID: &parent,
		},
		Name: r.name, Kind: zipkin.Server, Timestamp: r.start, Duration: r.duration,
		LocalEndpoint: &zipkin.Endpoint{ServiceName: r.service, IPv4: net.IPv4(10, 1, 2, 3), Port: 8080},
		Annotations:   []zipkin.Annotation{{Timestamp: r.start.Add(r.logged), Value: r.log}},
		Tags:          map[string]string{"text": "naïve 値"},
	}}
}

// zipkinV1JSON is the same in the format before, which has no kind but events.
func (r *ride) zipkinV1JSON() string {
	endpoint := `{"serviceName":"` + r.service + `","ipv4":"10.1.2.3","port":8080}`
	micros := func(d time.Duration) int64 { return r.start.Add(d).UnixMicro() }
	return fmt.Sprintf(`[{"traceId":%q,"id":%q,"parentId":%q,"name":%q,"timestamp":%d,"duration":%d,`+
		`"annotations":[{"timestamp":%d,"value":"sr","endpoint":%s},{"timestamp":%d,"value":%q,"endpoint":%[8]s},{"timestamp":%d,"value":"ss","endpoint":%[8]s}],`+
		`"binaryAnnotations":[{"key":"text","value":"naïve 値","endpoint":%[8]s}]}]`,
		r.trace, r.span, r.parent, r.name, micros(0), r.duration.Microseconds(),
		micros(0), endpoint, micros(r.logged), r.log, micros(r.duration))
}

func (r *ride) zipkinV1Thrift(t *testing.T) []byte {
	t.Helper()
	high, low := halves(r.trace)
	endpoint := &zipkincore.Endpoint{ServiceName: r.service, Ipv4: 10<<24 | 1<<16 | 2<<8 | 3, Port: 8080}
	span := &zipkincore.Span{
		TraceIDHigh: ptr(int64(high)), TraceID: int64(low), ID: thriftID(r.span), ParentID: ptr(thriftID(r.parent)),
		Name: r.name, Timestamp: ptr(r.start.UnixMicro()), Duration: ptr(r.duration.Microseconds()),
		Annotations: []*zipkincore.Annotation{
			{Timestamp: r.start.UnixMicro(), Value: "sr", Host: endpoint},
			{Timestamp: r.start.Add(r.logged).UnixMicro(), Value: r.log, Host: endpoint},
			{Timestamp: r.start.Add(r.duration).UnixMicro(), Value: "ss", Host: endpoint},
		},
		BinaryAnnotations: []*zipkincore.BinaryAnnotation{
			{Key: "text", Value: []byte("naïve 値"), AnnotationType: zipkincore.AnnotationType_STRING, Host: endpoint},
		},
	}
	buffer := thrift.NewTMemoryBuffer()
	protocol := thrift.NewTBinaryProtocolConf(buffer, nil)
	require.NoError(t, protocol.WriteListBegin(t.Context(), thrift.STRUCT, 1))
	require.NoError(t, span.Write(t.Context(), protocol))
	return buffer.Bytes()
}

// datagram is a call of the agent's method, as the clients' own library writes it.
func (r *ride) datagram(t *testing.T, protocol thrift.TProtocolFactory) []byte {
	t.Helper()
	buffer := thrift.NewTMemoryBuffer()
	client := agent.NewAgentClientFactory(buffer, protocol)
	require.NoError(t, client.EmitBatch(t.Context(), r.thrift()))
	return buffer.Bytes()
}

func compactProtocol() thrift.TProtocolFactory { return thrift.NewTCompactProtocolFactoryConf(nil) }
func binaryProtocol() thrift.TProtocolFactory  { return thrift.NewTBinaryProtocolFactoryConf(nil) }

func sendDatagram(t *testing.T, address string, data []byte) {
	t.Helper()
	conn, err := net.Dial("udp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(data)
	require.NoError(t, err)
}

func postTo(t *testing.T, url, contentType string, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

const (
	compactKey = "receivers::jaeger::protocols::thrift_compact"
	binaryKey  = "receivers::jaeger::protocols::thrift_binary"
	httpKey    = "receivers::jaeger::protocols::thrift_http"
	grpcKey    = "receivers::jaeger::protocols::grpc"
	zipkinKey  = "receivers::zipkin"
)

// Clients of Jaeger and Zipkin reach agent and gateway by all their protocols, and
// what arrives has the ids, times, kinds and tags that were sent.
func TestReceivers(t *testing.T) {
	for _, m := range []mode{"agent", "gateway"} {
		t.Run(string(m), func(t *testing.T) {
			backend := otlpserver.Start(t, otlpserver.Config{})
			c := startInFrontOf(t, m, backend)
			for name, send := range map[string]func(t *testing.T, r *ride){
				"jaeger compact": func(t *testing.T, r *ride) {
					sendDatagram(t, c.Endpoint(t, compactKey), r.datagram(t, compactProtocol()))
				},
				"jaeger binary": func(t *testing.T, r *ride) {
					sendDatagram(t, c.Endpoint(t, binaryKey), r.datagram(t, binaryProtocol()))
				},
				"jaeger http": func(t *testing.T, r *ride) {
					serializer := thrift.NewTSerializer() // of the binary encoding
					body, err := serializer.Write(t.Context(), r.thrift())
					require.NoError(t, err)
					url := "http://" + c.Endpoint(t, httpKey) + "/api/traces?format=jaeger.thrift"
					assert.Equal(t, http.StatusAccepted, postTo(t, url, "application/x-thrift", body))
				},
				"jaeger grpc": func(t *testing.T, r *ride) {
					conn, err := grpc.NewClient("passthrough:"+c.Endpoint(t, grpcKey), grpc.WithTransportCredentials(insecure.NewCredentials()))
					require.NoError(t, err)
					defer conn.Close()
					_, err = api_v2.NewCollectorServiceClient(conn).PostSpans(t.Context(), &api_v2.PostSpansRequest{Batch: r.proto()})
					require.NoError(t, err)
				},
				"zipkin v2 json": func(t *testing.T, r *ride) {
					raw := fmt.Sprintf(`[{"traceId":%q,"id":%q,"parentId":%q,"name":%q,"kind":"SERVER","timestamp":%d,"duration":%d,`+
						`"localEndpoint":{"serviceName":%q,"ipv4":"10.1.2.3","port":8080},`+
						`"annotations":[{"timestamp":%d,"value":%q}],"tags":{"text":"naïve 値"}}]`,
						r.trace, r.span, r.parent, r.name, r.start.UnixMicro(), r.duration.Microseconds(), r.service,
						r.start.Add(r.logged).UnixMicro(), r.log)
					assert.Equal(t, http.StatusAccepted, postTo(t, "http://"+c.Endpoint(t, zipkinKey)+"/api/v2/spans", "application/json", []byte(raw)))
				},
				"zipkin v2 protobuf": func(t *testing.T, r *ride) {
					raw, err := zipkin_proto3.SpanSerializer{}.Serialize(r.zipkinV2())
					require.NoError(t, err)
					assert.Equal(t, http.StatusAccepted, postTo(t, "http://"+c.Endpoint(t, zipkinKey)+"/api/v2/spans", "application/x-protobuf", raw))
				},
				"zipkin v1 json": func(t *testing.T, r *ride) {
					assert.Equal(t, http.StatusAccepted, postTo(t, "http://"+c.Endpoint(t, zipkinKey)+"/api/v1/spans", "application/json", []byte(r.zipkinV1JSON())))
				},
				"zipkin v1 thrift": func(t *testing.T, r *ride) {
					assert.Equal(t, http.StatusAccepted, postTo(t, "http://"+c.Endpoint(t, zipkinKey)+"/api/v1/spans", "application/x-thrift", r.zipkinV1Thrift(t)))
				},
			} {
				t.Run(name, func(t *testing.T) {
					r := newRide()
					send(t, r)
					rs, span := awaitSpan(t, backend, r)
					want := r.fromJaeger()
					if rest, isZipkin := strings.CutPrefix(name, "zipkin "); isZipkin {
						want = r.fromZipkin(rest[:2])
					}
					assert.Equal(t, want, describe(rs, span))
				})
			}
			c.Stop(t)
		})
	}
}

// startInFrontOf starts a mode that hands on at once what it has got.
func startInFrontOf(t *testing.T, m mode, backend *otlpserver.Server) *collector.Collector {
	t.Helper()
	config := m.config(t, "otlp", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + backend.GRPC})
	config.Overlay += "\nexporters::otlp_grpc::sending_queue::batch::flush_timeout: 1ms"
	return collector.Start(t, config)
}

// awaitSpan waits for the span of the ride.
func awaitSpan(t *testing.T, backend *otlpserver.Server, r *ride) (ptrace.ResourceSpans, ptrace.Span) {
	t.Helper()
	harness.Await(t, "span", func() error {
		if _, _, found := findSpan(backend, r); !found {
			return fmt.Errorf("no span of %s", r.trace)
		}
		return nil
	})
	rs, span, _ := findSpan(backend, r)
	return rs, span
}

func findSpan(backend *otlpserver.Server, r *ride) (resource ptrace.ResourceSpans, span ptrace.Span, found bool) {
	for _, td := range backend.Traces.AllTraces() {
		for span, rs := range otlpserver.Spans(td) {
			if span.TraceID() == r.trace {
				return rs, span, true
			}
		}
	}
	return resource, span, false
}

// described is a span to compare.
type described struct {
	Resource     map[string]any
	Span, Parent pcommon.SpanID
	Name         string
	Kind         ptrace.SpanKind
	Start, End   time.Time
	Status       ptrace.StatusCode
	Attributes   map[string]any
	Events       []describedEvent
	Links        []pcommon.SpanID
}

type describedEvent struct {
	Time       time.Time
	Name       string
	Attributes map[string]any
}

func describe(rs ptrace.ResourceSpans, span ptrace.Span) described {
	d := described{
		Resource: rs.Resource().Attributes().AsRaw(), Span: span.SpanID(), Parent: span.ParentSpanID(),
		Name: span.Name(), Kind: span.Kind(), Start: span.StartTimestamp().AsTime(), End: span.EndTimestamp().AsTime(),
		Status: span.Status().Code(), Attributes: span.Attributes().AsRaw(),
	}
	for _, event := range span.Events().All() {
		d.Events = append(d.Events, describedEvent{event.Timestamp().AsTime(), event.Name(), event.Attributes().AsRaw()})
	}
	slices.SortFunc(d.Events, func(a, b describedEvent) int { return a.Time.Compare(b.Time) })
	for _, link := range span.Links().All() {
		d.Links = append(d.Links, link.SpanID())
	}
	return d
}

func (r *ride) fromJaeger() described {
	return described{
		Resource: map[string]any{
			"service.name": r.service, "host.name": r.host, "ai.cloud.role": r.service, "ai.cloud.roleInstance": r.host,
			"k8s.pod.ip": "127.0.0.1", // the sender's, by which its pod is found
		},
		Span: r.span, Parent: r.parent, Name: r.name, Kind: ptrace.SpanKindServer,
		Start: r.start, End: r.start.Add(r.duration), Status: ptrace.StatusCodeError,
		Attributes: map[string]any{
			"text": "naïve 値", "long": int64(-1 << 62), "double": 0.25, "bool": true, "binary": []byte{0, 0xff},
		},
		Events: []describedEvent{{r.start.Add(r.logged), r.log, map[string]any{"metres": int64(40)}}},
		Links:  []pcommon.SpanID{r.other},
	}
}

func (r *ride) fromZipkin(version string) described {
	d := described{
		Resource: map[string]any{"service.name": r.service, "ai.cloud.role": r.service, "k8s.pod.ip": "127.0.0.1"},
		Span:     r.span, Parent: r.parent, Name: r.name, Kind: ptrace.SpanKindServer,
		Start: r.start, End: r.start.Add(r.duration),
		Attributes: map[string]any{"text": "naïve 値"},
		Events:     []describedEvent{{r.start.Add(r.logged), r.log, map[string]any{}}},
	}
	if version == "v1" { // whose endpoints are those of events, not of the span
		d.Resource["ipv4"], d.Resource["port"] = "10.1.2.3", "8080"
	} else {
		d.Attributes["network.local.address"], d.Attributes["net.host.port"] = "10.1.2.3", int64(8080)
	}
	return d
}

// Whatever comes by UDP, from anybody: the collector is there afterwards, has not
// made room for what a datagram only claims to hold, and takes the next good one.
func TestBadDatagrams(t *testing.T) {
	for _, protocol := range []struct {
		name, key string
		factory   thrift.TProtocolFactory
	}{
		{"compact", compactKey, compactProtocol()},
		{"binary", binaryKey, binaryProtocol()},
	} {
		t.Run(protocol.name, func(t *testing.T) {
			backend := otlpserver.Start(t, otlpserver.Config{})
			c := startInFrontOf(t, "gateway", backend)
			address := c.Endpoint(t, protocol.key)
			good := func(t *testing.T) {
				t.Helper()
				r := newRide()
				harness.Await(t, "the next good datagram", func() error {
					if _, _, found := findSpan(backend, r); found {
						return nil
					}
					// Again and again, since the system may drop any datagram.
					sendDatagram(t, address, r.datagram(t, protocol.factory))
					return errors.New("its span has not come")
				})
			}
			good(t)
			before := c.PeakMemory(t)
			whole, short := newRide().datagram(t, protocol.factory), newRide()
			complete := short.datagram(t, protocol.factory)
			for name, datagrams := range map[string]func(yield func([]byte) bool){
				"cut short at each length": func(yield func([]byte) bool) {
					for n := range complete {
						if !yield(complete[:n]) {
							return
						}
					}
				},
				"each byte turned over": func(yield func([]byte) bool) {
					for i := range whole {
						turned := bytes.Clone(whole)
						turned[i] ^= 0xff
						if !yield(turned) {
							return
						}
					}
				},
				"noise": func(yield func([]byte) bool) {
					noise := rand.NewChaCha8([32]byte{})
					for n := 1; n <= 60_000; n += n/2 + 1 {
						b := make([]byte, n)
						_, _ = noise.Read(b)
						if !yield(b) {
							return
						}
					}
				},
				"crafted": func(yield func([]byte) bool) {
					for _, b := range crafted(t, protocol.factory) {
						for range 20 {
							if !yield(b) {
								return
							}
						}
					}
				},
			} {
				t.Run(name, func(t *testing.T) {
					sent := 0
					datagrams(func(b []byte) bool {
						sendDatagram(t, address, b)
						if sent++; sent%50 == 0 { // not faster than they are taken
							good(t)
						}
						return !t.Failed()
					})
					good(t)
					t.Logf("%d datagrams", sent)
				})
			}
			assert.Less(t, c.PeakMemory(t)-before, 100*mib)
			_, _, found := findSpan(backend, short)
			assert.False(t, found, "a datagram that was cut short was taken in part")
			assert.GreaterOrEqual(t, c.Metric(t, "otelcol_receiver_jaeger_dropped_datagrams", "reason=malformed"), float64(len(complete)))
			assert.Positive(t, c.Metric(t, "otelcol_receiver_jaeger_dropped_datagrams", "reason=unsupported"))
			c.Stop(t)
		})
	}
}

// crafted are datagrams that are wrong on purpose.
func crafted(t *testing.T, factory thrift.TProtocolFactory) [][]byte {
	t.Helper()
	ctx := context.Background()
	write := func(f func(p thrift.TProtocol)) []byte {
		buffer := thrift.NewTMemoryBuffer()
		f(factory.GetProtocol(buffer))
		return buffer.Bytes()
	}
	// down opens the arguments, the batch, and so on: the ids of fields on the way.
	down := func(p thrift.TProtocol, ids ...int16) {
		for _, id := range ids {
			_ = p.WriteStructBegin(ctx, "")
			_ = p.WriteFieldBegin(ctx, "", thrift.STRUCT, id)
		}
		_ = p.WriteStructBegin(ctx, "")
	}
	call := func(p thrift.TProtocol, method string) { _ = p.WriteMessageBegin(ctx, method, thrift.ONEWAY, 1) }
	const most = 100<<20 - 1 // below Thrift's own limit
	return [][]byte{
		{},
		write(func(p thrift.TProtocol) { // a method that Jaeger's agent has on another port
			call(p, "emitZipkinBatch")
			_ = p.WriteStructBegin(ctx, "")
			_ = p.WriteFieldStop(ctx)
		}),
		write(func(p thrift.TProtocol) { // one that nobody has
			call(p, strings.Repeat("x", 50_000))
			_ = p.WriteStructBegin(ctx, "")
			_ = p.WriteFieldStop(ctx)
		}),
		write(func(p thrift.TProtocol) { // no batch
			call(p, "emitBatch")
			_ = p.WriteStructBegin(ctx, "")
			_ = p.WriteFieldStop(ctx)
		}),
		write(func(p thrift.TProtocol) { // claims 100 million spans
			call(p, "emitBatch")
			down(p, 1)
			_ = p.WriteFieldBegin(ctx, "", thrift.LIST, 2)
			_ = p.WriteListBegin(ctx, thrift.STRUCT, most)
		}),
		write(func(p thrift.TProtocol) { // claims 100 million tags of the process
			call(p, "emitBatch")
			down(p, 1, 1)
			_ = p.WriteFieldBegin(ctx, "", thrift.LIST, 2)
			_ = p.WriteListBegin(ctx, thrift.STRUCT, most)
		}),
		write(func(p thrift.TProtocol) { // claims a field of 100 million bytes that nobody knows
			call(p, "emitBatch")
			down(p, 1)
			_ = p.WriteFieldBegin(ctx, "", thrift.STRING, 99)
			_ = p.WriteI32(ctx, most)
		}),
		write(func(p thrift.TProtocol) { // lists in lists in lists
			call(p, "emitBatch")
			_ = p.WriteStructBegin(ctx, "")
			_ = p.WriteFieldBegin(ctx, "", thrift.LIST, 99)
			for range 5000 {
				_ = p.WriteListBegin(ctx, thrift.LIST, 1)
			}
		}),
	}
}

// Over TCP bad requests get an answer, do no harm, and the next good one is taken.
func TestBadJaegerAndZipkin(t *testing.T) {
	backend := otlpserver.Start(t, otlpserver.Config{})
	c := startInFrontOf(t, "gateway", backend)
	jaegerURL, zipkinURL := "http://"+c.Endpoint(t, httpKey)+"/api/traces", "http://"+c.Endpoint(t, zipkinKey)
	serializer := thrift.NewTSerializer()
	whole, err := serializer.Write(t.Context(), newRide().thrift())
	require.NoError(t, err)
	whole = bytes.Clone(whole)
	v2, err := zipkin_proto3.SpanSerializer{}.Serialize(newRide().zipkinV2())
	require.NoError(t, err)
	claims, err := hex.DecodeString("0f00020c" + "063fffff") // field 2 is a list of 100 million structs
	require.NoError(t, err)
	before := c.PeakMemory(t)
	for n := range whole {
		require.Equal(t, http.StatusBadRequest, postTo(t, jaegerURL, "application/x-thrift", whole[:n]), "%d bytes", n)
	}
	for range 20 {
		assert.Equal(t, http.StatusBadRequest, postTo(t, jaegerURL, "application/x-thrift", claims))
	}
	for _, bad := range []struct {
		url, contentType string
		body             []byte
	}{
		{jaegerURL, "application/json", whole},
		{jaegerURL, "", whole},
		{zipkinURL + "/api/v2/spans", "application/json", []byte(`[{"traceId":`)},
		{zipkinURL + "/api/v2/spans", "application/json", []byte(`{"traceId":"1"}`)},
		{zipkinURL + "/api/v2/spans", "application/json", []byte(`[{"traceId":"nothex","id":"1"}]`)},
		{zipkinURL + "/api/v2/spans", "application/x-protobuf", v2[:len(v2)-1]},
		{zipkinURL + "/api/v1/spans", "application/json", []byte(`[{"id":`)},
		{zipkinURL + "/api/v1/spans", "application/x-thrift", []byte{12, 6, 63, 255, 255}},
	} {
		assert.Equal(t, http.StatusBadRequest, postTo(t, bad.url, bad.contentType, bad.body), "%s %s %q", bad.url, bad.contentType, bad.body[:min(20, len(bad.body))])
	}
	conn, err := grpc.NewClient("passthrough:"+c.Endpoint(t, grpcKey), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	client := api_v2.NewCollectorServiceClient(conn)
	for _, batch := range []model.Batch{{}, {Process: &model.Process{}}, {Spans: []*model.Span{{}}}} {
		_, err = client.PostSpans(t.Context(), &api_v2.PostSpansRequest{Batch: batch})
		require.NoError(t, err) // nothing, or a span without ids: not for the collector to judge
	}
	assert.Less(t, c.PeakMemory(t)-before, 100*mib)

	r := newRide()
	body, err := serializer.Write(t.Context(), r.thrift())
	require.NoError(t, err)
	assert.Equal(t, http.StatusAccepted, postTo(t, jaegerURL, "application/x-thrift", body))
	awaitSpan(t, backend, r)
	c.Stop(t)
}
