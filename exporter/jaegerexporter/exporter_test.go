// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	exportermetadata "github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadata"
	"github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadatatest"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
)

// A span with everything arrives with everything.
func TestTranslation(t *testing.T) {
	start := time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)
	every := func(to pcommon.Map) {
		to.PutStr("s", "naïve")
		to.PutInt("i", math.MinInt64)
		to.PutDouble("d", 0.25)
		to.PutBool("b", false)
		to.PutEmptyBytes("raw").FromRaw([]byte{0, 255})
		to.PutEmptySlice("list").AppendEmpty().SetStr("x")
		to.PutEmptyMap("map").PutInt("n", 1)
	}
	tags := []model.KeyValue{
		model.String("s", "naïve"), model.Int64("i", math.MinInt64), model.Float64("d", 0.25), model.Bool("b", false),
		model.Binary("raw", []byte{0, 255}), model.String("list", `["x"]`), model.String("map", `{"n":1}`),
	}

	td := ptrace.NewTraces()
	td.ResourceSpans().AppendEmpty() // nothing in it: no call
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "cart")
	every(rs.Resource().Attributes())
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("lib")
	ss.Scope().SetVersion("1.2")
	span := ss.Spans().AppendEmpty()
	span.SetName("POST /pay")
	span.SetKind(ptrace.SpanKindServer)
	span.SetTraceID(pcommon.TraceID{0: 0x80, 15: 1})
	span.SetSpanID(pcommon.SpanID{7: 2})
	span.SetParentSpanID(pcommon.SpanID{7: 3})
	span.SetFlags(1)
	span.TraceState().FromRaw("a=b")
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(start.Add(1500 * time.Nanosecond)))
	span.Status().SetCode(ptrace.StatusCodeError)
	span.Status().SetMessage("no money")
	every(span.Attributes())
	span.Attributes().PutInt("http.response.status_code", 402)
	span.Attributes().PutInt("http.status_code", 402)
	link := span.Links().AppendEmpty()
	link.SetTraceID(pcommon.TraceID{15: 9})
	link.SetSpanID(pcommon.SpanID{7: 8})
	event := span.Events().AppendEmpty()
	event.SetName("refused")
	event.SetTimestamp(pcommon.NewTimestampFromTime(start.Add(time.Microsecond)))
	event.Attributes().PutInt("http.response.status_code", 402)

	c := listen(t, nil)
	require.NoError(t, run(t, quick(c)).ConsumeTraces(t.Context(), td))
	calls := c.seen()
	require.Len(t, calls, 1)
	traceID := model.TraceID{High: 0x8000000000000000, Low: 1}
	want := model.Batch{
		Process: &model.Process{ServiceName: "cart", Tags: tags},
		Spans: []*model.Span{{
			TraceID:       traceID,
			SpanID:        2,
			OperationName: "POST /pay",
			References: []model.SpanRef{
				{TraceID: traceID, SpanID: 3, RefType: model.SpanRefType_CHILD_OF},
				{TraceID: model.TraceID{Low: 9}, SpanID: 8, RefType: model.SpanRefType_FOLLOWS_FROM},
			},
			Flags:     1,
			StartTime: start,
			Duration:  1500 * time.Nanosecond,
			Tags: append(append([]model.KeyValue{model.String("otel.scope.name", "lib"), model.String("otel.scope.version", "1.2")}, tags...),
				model.Int64("http.response.status_code", 402), model.Int64("http.status_code", 402),
				model.String("span.kind", "server"), model.String("otel.status_code", "ERROR"), model.Bool("error", true),
				model.String("otel.status_description", "no money"), model.String("w3c.tracestate", "a=b")),
			Logs: []model.Log{{
				Timestamp: start.Add(time.Microsecond),
				Fields:    []model.KeyValue{model.String("event", "refused"), model.Int64("http.response.status_code", 402)},
			}},
		}},
	}
	assert.Equal(t, want, calls[0].batch)
}

// What Jaeger, or gRPC on its behalf, can answer, and what it means.
func TestAnswers(t *testing.T) {
	const again, never = 2, 1 // calls that Jaeger sees
	tests := []struct {
		name  string
		err   error
		calls int
		code  string // in the metric, of what is dropped
	}{
		{"OK", nil, 1, ""},
		{"CANCELLED", status.Error(codes.Canceled, "x"), again, ""},
		{"UNKNOWN", status.Error(codes.Unknown, "x"), again, ""},
		{"INVALID_ARGUMENT", status.Error(codes.InvalidArgument, "x"), never, "INVALID_ARGUMENT"},
		{"DEADLINE_EXCEEDED", status.Error(codes.DeadlineExceeded, "x"), again, ""},
		{"NOT_FOUND", status.Error(codes.NotFound, "x"), never, "NOT_FOUND"},
		{"ALREADY_EXISTS", status.Error(codes.AlreadyExists, "x"), never, "ALREADY_EXISTS"},
		{"PERMISSION_DENIED", status.Error(codes.PermissionDenied, "missing tenant header"), never, "PERMISSION_DENIED"},
		{"RESOURCE_EXHAUSTED, Jaeger's queue is full", status.Error(codes.ResourceExhausted, "server busy"), again, ""},
		{
			"RESOURCE_EXHAUSTED, a single span is too large",
			status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"), never, "RESOURCE_EXHAUSTED",
		},
		{"FAILED_PRECONDITION", status.Error(codes.FailedPrecondition, "x"), never, "FAILED_PRECONDITION"},
		{"ABORTED", status.Error(codes.Aborted, "x"), again, ""},
		{"OUT_OF_RANGE", status.Error(codes.OutOfRange, "x"), again, ""},
		{"UNIMPLEMENTED", status.Error(codes.Unimplemented, "x"), never, "UNIMPLEMENTED"},
		{"INTERNAL", status.Error(codes.Internal, "x"), never, "INTERNAL"},
		{"UNAVAILABLE", status.Error(codes.Unavailable, "x"), again, ""},
		{"DATA_LOSS", status.Error(codes.DataLoss, "x"), again, ""},
		{"UNAUTHENTICATED", status.Error(codes.Unauthenticated, "x"), never, "UNAUTHENTICATED"},
		{"a code that gRPC does not define", status.Error(codes.Code(99), "x"), again, ""},
		{"an error without a code", errors.New("data refused due to high memory usage"), again, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := listen(t, func(_ context.Context, n int, _ []string) error {
				if n == 0 {
					return test.err
				}
				return nil
			})
			reader := componenttest.NewTelemetry()
			e := runWith(t, metadatatest.NewSettings(reader), componenttest.NewNopHost(), quick(c))
			err := e.ConsumeTraces(t.Context(), numbered(1))
			assert.Len(t, c.seen(), test.calls)
			if test.code == "" {
				require.NoError(t, err)
				assert.Equal(t, ids(1, 1), c.stored())
				_, err = reader.GetMetric("otelcol_exporter_jaeger_refused_spans")
				require.Error(t, err, "no span was refused")
				return
			}
			assert.True(t, consumererror.IsPermanent(err), err)
			assert.Equal(t, status.Code(test.err), status.Code(err))
			assert.Empty(t, c.stored())
			assertRefused(t, reader, test.code, 1)
		})
	}
}

func assertRefused(t *testing.T, reader *componenttest.Telemetry, code string, spans int64) {
	t.Helper()
	metadatatest.AssertEqualExporterJaegerRefusedSpans(t, reader, []metricdata.DataPoint[int64]{
		{Attributes: attribute.NewSet(attribute.String("code", code)), Value: spans},
	}, metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
}

// The names that the metric can have are those that metadata.yaml lists.
func TestCodesAreDocumented(t *testing.T) {
	telemetry, err := newTelemetry(componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	raw, err := os.ReadFile("documentation.md")
	require.NoError(t, err)
	var names []string
	for name := range telemetry.codes {
		names = append(names, name)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, found := strings.CutPrefix(line, "| code |"); found {
			cells := strings.Split(rest, "|")
			list := strings.NewReplacer("Str: ", "", "`", "").Replace(strings.TrimSpace(cells[1]))
			assert.ElementsMatch(t, strings.Split(list, ", "), names)
			return
		}
	}
	t.Fatal("no attribute code in documentation.md")
}

// A retry sends what Jaeger has not taken, and nothing else.
func TestRetryOfTheRest(t *testing.T) {
	tests := []struct {
		name   string
		counts []int
		fail   []int      // calls that fail
		want   [][]string // the spans of each call
	}{
		{"the first of three", []int{2, 1, 2}, []int{0}, [][]string{ids(1, 2), ids(1, 2), ids(3, 3), ids(4, 5)}},
		{"the second of three", []int{2, 1, 2}, []int{1}, [][]string{ids(1, 2), ids(3, 3), ids(3, 3), ids(4, 5)}},
		{"the last of three", []int{2, 1, 2}, []int{2}, [][]string{ids(1, 2), ids(3, 3), ids(4, 5), ids(4, 5)}},
		{"twice", []int{2, 1, 2}, []int{1, 3}, [][]string{ids(1, 2), ids(3, 3), ids(3, 3), ids(4, 5), ids(4, 5)}},
		{"resources without spans between", []int{1, 0, 2, 0, 1}, []int{1}, [][]string{ids(1, 1), ids(2, 3), ids(2, 3), ids(4, 4)}},
		{"nothing to send", []int{0, 0}, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			failing := test.fail
			c := listen(t, func(_ context.Context, n int, _ []string) error {
				if len(failing) > 0 && failing[0] == n {
					failing = failing[1:]
					return status.Error(codes.Unavailable, "away")
				}
				return nil
			})
			td := numbered(test.counts...)
			td.MarkReadOnly()
			require.NoError(t, run(t, quick(c)).ConsumeTraces(t.Context(), td))
			var got [][]string
			for _, call := range c.seen() {
				got = append(got, spanIDs(call.batch.Spans))
				// A resource's spans go with that resource.
				first := call.batch.Spans[0].SpanID
				want := int64(resourceOf(test.counts, int(first)))
				assert.Equal(t, []model.KeyValue{model.Int64("resource", want)}, call.batch.Process.Tags)
			}
			assert.Equal(t, test.want, got)
		})
	}
}

// resourceOf is the resource in which numbered puts a span.
func resourceOf(counts []int, span int) int {
	for i, n := range counts {
		if span -= n; span <= 0 {
			return i
		}
	}
	return -1
}

// large makes spans of a bit over size bytes each, in scopes of two.
func large(spans, size int) ptrace.Traces {
	td := numbered(spans)
	for _, ss := range td.ResourceSpans().At(0).ScopeSpans().All() {
		for _, span := range ss.Spans().All() {
			span.Attributes().PutStr("filling", strings.Repeat("x", size))
		}
	}
	return td
}

// A gRPC server takes 4 MiB unless it is told otherwise. Five spans of 1 MiB are
// two messages; when the second fails, its spans alone are sent again.
func TestLargeBatch(t *testing.T) {
	c := listen(t, func(_ context.Context, n int, _ []string) error {
		if n == 1 {
			return status.Error(codes.Unavailable, "away")
		}
		return nil
	})
	require.NoError(t, run(t, quick(c)).ConsumeTraces(t.Context(), large(5, 1<<20)))
	var got [][]string
	for _, call := range c.seen() {
		got = append(got, spanIDs(call.batch.Spans))
	}
	assert.Equal(t, [][]string{ids(1, 3), ids(4, 5), ids(4, 5)}, got)
}

// Messages fill the limit to the byte.
func TestMessageSize(t *testing.T) {
	const limit = maxMessage
	for _, off := range []int{-1, 0, 1} {
		t.Run(strconv.Itoa(off), func(t *testing.T) {
			c := listen(t, nil, grpc.MaxRecvMsgSize(limit))
			td := large(2, 1<<20)
			spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
			// 2.5 MiB at first, so that no length gets longer for the rest.
			spans.At(0).Attributes().PutStr("filling", strings.Repeat("x", 5<<19))
			e := run(t, quick(c))
			require.NoError(t, e.ConsumeTraces(t.Context(), td))
			request := postSpansRequest(c.seen()[0].batch)
			filling := strings.Repeat("x", 5<<19+limit+off-request.Size())
			spans.At(0).Attributes().PutStr("filling", filling)
			require.NoError(t, e.ConsumeTraces(t.Context(), td))
			var sizes []int
			for _, call := range c.seen()[1:] {
				request = postSpansRequest(call.batch)
				sizes = append(sizes, request.Size())
			}
			if off <= 0 {
				assert.Equal(t, []int{limit + off}, sizes)
			} else {
				assert.Len(t, sizes, 2)
			}
			assert.Equal(t, append(ids(1, 2), ids(1, 2)...), c.stored())
		})
	}
}

// A server that takes less than is usual gets smaller messages, from then on at
// once, and what is too large even alone is dropped and counted.
func TestSmallLimit(t *testing.T) {
	c := listen(t, nil, grpc.MaxRecvMsgSize(10_000))
	reader := componenttest.NewTelemetry()
	e := runWith(t, metadatatest.NewSettings(reader), componenttest.NewNopHost(), quick(c))
	td := large(100, 1000)
	td.ResourceSpans().At(0).ScopeSpans().At(20).Spans().At(1).Attributes().PutStr("more", strings.Repeat("x", 10_000))
	require.NoError(t, e.ConsumeTraces(t.Context(), td))
	assert.Equal(t, append(ids(1, 41), ids(43, 100)...), c.stored())
	assertRefused(t, reader, "RESOURCE_EXHAUSTED", 1)

	// The server's handler does not see a message that is too large. That the
	// exporter does not send one any more is seen in the order of the calls: ten
	// spans in a message, where at first it could not know.
	before := len(c.seen())
	require.NoError(t, e.ConsumeTraces(t.Context(), large(12, 1000)))
	for _, call := range c.seen()[before:] {
		request := postSpansRequest(call.batch)
		assert.Less(t, request.Size(), 10_000)
	}
}

// One resource that Jaeger will never take does not keep it from the others.
func TestRefusedAmongTaken(t *testing.T) {
	refuse := func(_ context.Context, _ int, spans []string) error {
		if spans[0] == ids(3, 3)[0] {
			return status.Error(codes.InvalidArgument, "not these")
		}
		return nil
	}
	core, logs := observer.New(zap.ErrorLevel)
	reader := componenttest.NewTelemetry()
	set := metadatatest.NewSettings(reader)
	set.Logger = zap.New(core)
	c := listen(t, refuse)
	e := runWith(t, set, componenttest.NewNopHost(), quick(c))
	for range 2 {
		require.NoError(t, e.ConsumeTraces(t.Context(), numbered(2, 3, 1)))
	}
	assert.Equal(t, []string{"1", "2", "6", "1", "2", "6"}, short(c.stored()))
	assertRefused(t, reader, "INVALID_ARGUMENT", 6)
	entries := logs.All()
	require.Len(t, entries, 1, "said once")
	assert.Equal(t, int64(3), entries[0].ContextMap()["spans"])
	assert.Contains(t, entries[0].ContextMap()["error"], "not these")
}

func short(ids []string) []string {
	var list []string
	for _, id := range ids {
		list = append(list, strings.TrimLeft(id, "0"))
	}
	return list
}

// A refusal before a failure does not end the retry, and is not sent again.
func TestRefusedThenAway(t *testing.T) {
	c := listen(t, func(_ context.Context, n int, _ []string) error {
		switch n {
		case 0:
			return status.Error(codes.InvalidArgument, "not these")
		case 1:
			return status.Error(codes.Unavailable, "away")
		}
		return nil
	})
	require.NoError(t, run(t, quick(c)).ConsumeTraces(t.Context(), numbered(1, 1)))
	assert.Len(t, c.seen(), 3)
	assert.Equal(t, ids(2, 2), c.stored())
}

// The server's wait is kept.
func TestThrottle(t *testing.T) {
	const wait = 300 * time.Millisecond
	c := listen(t, func(_ context.Context, n int, _ []string) error {
		if n != 1 {
			return nil
		}
		busy, err := status.New(codes.ResourceExhausted, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
		require.NoError(t, err)
		return busy.Err()
	})
	require.NoError(t, run(t, quick(c)).ConsumeTraces(t.Context(), numbered(1, 1)))
	calls := c.seen()
	require.Len(t, calls, 3)
	assert.GreaterOrEqual(t, calls[2].at.Sub(calls[1].at), wait)
	assert.Equal(t, ids(1, 2), c.stored())
}

// The timeout is each call's: five calls of 300 ms are sent with a timeout of 1 s,
// each once.
func TestTimeoutOfACall(t *testing.T) {
	c := listen(t, func(ctx context.Context, _ int, _ []string) error {
		select {
		case <-time.After(300 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	e := run(t, with(quick(c), "timeout", "1s"))
	require.NoError(t, e.ConsumeTraces(t.Context(), numbered(1, 1, 1, 1, 1)))
	assert.Len(t, c.seen(), 5)
	assert.Equal(t, ids(1, 5), c.stored())
}

// A server that does not answer is given up, and asked again.
func TestTimeout(t *testing.T) {
	c := listen(t, func(ctx context.Context, n int, _ []string) error {
		if n == 1 {
			<-ctx.Done()
		}
		return ctx.Err()
	})
	e := run(t, with(quick(c), "timeout", "100ms"))
	require.NoError(t, e.ConsumeTraces(t.Context(), numbered(1, 1)))
	assert.Len(t, c.seen(), 3)
	assert.Equal(t, ids(1, 2), c.stored())
}

func TestMetadata(t *testing.T) {
	c := listen(t, nil)
	conf := with(quick(c), "headers", map[string]any{"x-tenant": "acme"})
	conf["compression"] = "gzip"
	conf["balancer_name"] = "round_robin"
	set := exportertest.NewNopSettings(exportermetadata.Type)
	set.BuildInfo.Description, set.BuildInfo.Version = "Shop's collector", "1.2.3"
	e := runWith(t, set, componenttest.NewNopHost(), conf)
	require.NoError(t, e.ConsumeTraces(t.Context(), numbered(1)))
	md := c.seen()[0].metadata
	assert.Equal(t, []string{"acme"}, md.Get("x-tenant"))
	require.Len(t, md.Get("user-agent"), 1)
	assert.Regexp(t, `^Shop's collector/1\.2\.3 \(\w+/\w+\) grpc-go/`, md.Get("user-agent")[0])
}

// State is reported when it changes, and once.
func TestStatus(t *testing.T) {
	c := listen(t, func(_ context.Context, n int, _ []string) error {
		switch n {
		case 1, 2:
			return status.Error(codes.Unavailable, "away")
		case 5:
			return status.Error(codes.Unauthenticated, "who are you")
		}
		return nil
	})
	h := &host{}
	e := runWith(t, exportertest.NewNopSettings(exportermetadata.Type), h, quick(c))
	for range 4 { // calls 0; 1, 2, 3; 4; 5
		_ = e.ConsumeTraces(t.Context(), numbered(1))
	}
	require.NoError(t, e.ConsumeTraces(t.Context(), numbered(1)))
	assert.Equal(t, []componentstatus.Status{
		componentstatus.StatusRecoverableError, componentstatus.StatusOK,
		componentstatus.StatusRecoverableError, componentstatus.StatusOK,
	}, h.statuses())
}

func TestTLS(t *testing.T) {
	ours, other := authority.New(t), authority.New(t)
	certFile, keyFile := ours.Issue(t, "127.0.0.1")
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	clients := x509.NewCertPool()
	pem, err := os.ReadFile(ours.File)
	require.NoError(t, err)
	require.True(t, clients.AppendCertsFromPEM(pem))
	server := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	mutual := server.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, clients
	clientCert, clientKey := ours.Issue(t, "client")
	strangerCert, strangerKey := other.Issue(t, "client")

	tests := []struct {
		name   string
		server *tls.Config
		client map[string]any
		want   string // in the error
	}{
		{"trusted", server, map[string]any{"ca_file": ours.File}, ""},
		{"of an authority that is not trusted", server, map[string]any{"ca_file": other.File}, "certificate signed by unknown authority"},
		{"system's roots", server, map[string]any{}, "certificate signed by unknown authority"},
		{"of another name", server, map[string]any{"ca_file": ours.File, "server_name_override": "jaeger"}, "wanted to match jaeger"},
		{"not looked at", server, map[string]any{"insecure_skip_verify": true}, ""},
		{"plain text to TLS", server, map[string]any{"insecure": true}, "error reading server preface"},
		{"TLS to plain text", nil, map[string]any{"ca_file": ours.File}, "first record does not look like a TLS handshake"},
		{"with the client's", mutual, map[string]any{"ca_file": ours.File, "cert_file": clientCert, "key_file": clientKey}, ""},
		{"without the client's", mutual, map[string]any{"ca_file": ours.File}, "code = Unavailable"},
		{"with a stranger's", mutual, map[string]any{"ca_file": ours.File, "cert_file": strangerCert, "key_file": strangerKey}, "code = Unavailable"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var options []grpc.ServerOption
			if test.server != nil {
				options = append(options, grpc.Creds(credentials.NewTLS(test.server)))
			}
			c := listen(t, nil, options...)
			conf := with(quick(c), "tls", test.client)
			conf["retry_on_failure"] = map[string]any{"enabled": false}
			err := run(t, conf).ConsumeTraces(t.Context(), numbered(1))
			if test.want == "" {
				require.NoError(t, err)
				assert.Equal(t, ids(1, 1), c.stored())
				return
			}
			require.ErrorContains(t, err, test.want)
			assert.False(t, consumererror.IsPermanent(err), "a certificate can be replaced")
			assert.Empty(t, c.seen())
		})
	}
}

// What ToClientConn finds wrong stops the collector when it starts.
func TestStartError(t *testing.T) {
	c := listen(t, nil)
	cfg := load(t, with(quick(c), "tls", map[string]any{"ca_file": "no/such/file"}))
	e, err := NewFactory().CreateTraces(t.Context(), exportertest.NewNopSettings(exportermetadata.Type), cfg)
	require.NoError(t, err)
	require.ErrorContains(t, e.Start(t.Context(), componenttest.NewNopHost()), "no/such/file")
	require.NoError(t, e.Shutdown(t.Context()))
}
