// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ownmetadata "github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
)

// limited makes the extension with 1 MiB for a request and for a client, and its log.
func limited(t *testing.T) (*refusals, *observer.ObservedLogs) {
	t.Helper()
	core, logged := observer.New(zap.InfoLevel)
	set := extensiontest.NewNopSettings(ownmetadata.Type)
	set.Logger = zap.New(core)
	ext, err := NewFactory().Create(t.Context(), set, &Config{MaxDecodedMiB: 1, MaxInFlightMiB: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ext.Shutdown(context.Background())) })
	return ext.(*refusals), logged
}

// refusedRequests are of traces that are not taken with a limit of 1 MiB.
func refusedRequests() (large, deep ptraceotlp.ExportRequest) {
	large = ptraceotlp.NewExportRequest()
	all := large.Traces().ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for range 5000 { // 10 kB
		all.AppendEmpty()
	}
	deep = ptraceotlp.NewExportRequest()
	value := deep.Traces().ResourceSpans().AppendEmpty().Resource().Attributes().PutEmpty("x")
	for range 2 * maxNesting {
		value = value.SetEmptySlice().AppendEmpty()
	}
	return large, deep
}

// blocking answers when it is told to.
type blocking struct {
	ptraceotlp.UnimplementedGRPCServer
	begun, end chan struct{}
}

func newBlocking() *blocking {
	return &blocking{begun: make(chan struct{}), end: make(chan struct{})}
}

func (b *blocking) await(t *testing.T) {
	t.Helper()
	select {
	case <-b.begun:
	case <-time.After(10 * time.Second):
		t.Fatal("the request did not reach the receiver")
	}
}

func (b *blocking) serve() { b.begun <- struct{}{}; <-b.end }

func (b *blocking) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	if request.Traces().SpanCount() > 0 {
		b.serve()
	}
	return ptraceotlp.NewExportResponse(), nil
}

func (b *blocking) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	b.serve()
	w.WriteHeader(http.StatusOK)
}

func TestLimitsHTTP(t *testing.T) {
	ext, logged := limited(t)
	handler := newBlocking()
	id := component.NewID(ownmetadata.Type)
	config := confighttp.NewDefaultServerConfig()
	config.NetAddr.Endpoint = "127.0.0.1:0"
	config.Middlewares = []configmiddleware.Config{{ID: id}}
	s, err := config.ToServer(t.Context(), map[component.ID]component.Component{id: ext}, componenttest.NewNopTelemetrySettings(), handler)
	require.NoError(t, err)
	listener, err := config.ToListener(t.Context())
	require.NoError(t, err)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, s.Shutdown(context.Background())) })

	type answer struct {
		status     int
		retryAfter string
	}
	post := func(kind string, body []byte) answer {
		resp, err := http.Post("http://"+listener.Addr().String()+"/v1/traces", kind, bytes.NewReader(body))
		if !assert.NoError(t, err) {
			return answer{}
		}
		assert.NoError(t, resp.Body.Close())
		return answer{resp.StatusCode, resp.Header.Get("Retry-After")}
	}
	large, deep := refusedRequests()
	protobuf := func(r ptraceotlp.ExportRequest) []byte {
		data, err := r.MarshalProto()
		require.NoError(t, err)
		return data
	}
	json := func(r ptraceotlp.ExportRequest) []byte {
		data, err := r.MarshalJSON()
		require.NoError(t, err)
		return data
	}

	for kind, encode := range map[string]func(ptraceotlp.ExportRequest) []byte{
		"application/x-protobuf": protobuf, "application/json": json,
	} {
		for reason, refused := range map[string]struct {
			request ptraceotlp.ExportRequest
			status  int
		}{"max_decoded_mib": {large, http.StatusRequestEntityTooLarge}, "nested": {deep, http.StatusBadRequest}} {
			assert.Equal(t, refused.status, post(kind, encode(refused.request)).status, kind)
			all := logged.TakeAll()
			require.Len(t, all, 1)
			assert.Contains(t, all[0].ContextMap()["reason"], reason)
		}
	}

	// There is room for one, which is 0.6 MB decoded, and for another after it.
	good := json(spans(80))
	for range 2 {
		first := make(chan answer, 1)
		go func() { first <- post("application/json", good) }()
		handler.await(t)
		assert.Equal(t, answer{http.StatusServiceUnavailable, "1"}, post("application/json", good))
		all := logged.TakeAll()
		require.Len(t, all, 1)
		assert.Contains(t, all[0].ContextMap()["reason"], "max_in_flight_mib")
		handler.end <- struct{}{}
		assert.Equal(t, answer{status: http.StatusOK}, <-first)
	}
	require.NoError(t, s.Shutdown(t.Context())) // waits for what is in progress
	assert.Zero(t, ext.limits.used)
	assert.Empty(t, ext.limits.usedBy)
}

// What is not in memory yet is not reserved: a client that sends slowly takes what it sent.
func TestReadReservesAsItComes(t *testing.T) {
	l := &limits{inFlight: 128 << 10} // half of it for one client
	body := reservedBody{limits: l}
	data, err := body.read(bytes.NewReader(make([]byte, 5000)))
	require.NoError(t, err)
	assert.Len(t, data, 5000)
	assert.Equal(t, 8<<10, l.used)
	body.release()

	body = reservedBody{limits: l}
	_, err = body.read(bytes.NewReader(make([]byte, 64<<10+1)))
	require.ErrorIs(t, err, errFull)
	body.release()
	assert.Zero(t, l.used)
}

func TestLimitsGRPC(t *testing.T) {
	ext, logged := limited(t)
	ext.uploadLimit = 100 * time.Millisecond
	handler := newBlocking()
	options, err := ext.GetGRPCServerOptions(t.Context())
	require.NoError(t, err)
	// As configgrpc's for authentication, it stands before a middleware's.
	denied := status.Error(codes.Unauthenticated, "no")
	var deny error
	authenticate := func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if deny != nil {
			return nil, deny
		}
		return next(ctx, request)
	}
	s := grpc.NewServer(append([]grpc.ServerOption{grpc.ChainUnaryInterceptor(authenticate)}, options...)...)
	ptraceotlp.RegisterGRPCServer(s, handler)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	client := ptraceotlp.NewGRPCClient(conn)
	export := func(r ptraceotlp.ExportRequest) error { _, err := client.Export(context.Background(), r); return err }
	large, deep := refusedRequests()
	good := spans(500) // 0.7 MB decoded: there is room for one

	for name, refused := range map[string]ptraceotlp.ExportRequest{"max_decoded_mib": large, "nested": deep} {
		err := export(refused)
		assert.Equal(t, codes.InvalidArgument, status.Code(err))
		require.ErrorContains(t, err, name)
	}
	for range 2 {
		first := make(chan error, 1)
		go func() { first <- export(good) }()
		handler.await(t)
		err := export(good)
		assert.Equal(t, codes.Unavailable, status.Code(err), "clients send it again")
		require.ErrorContains(t, err, "max_in_flight_mib")
		var delays []time.Duration
		for _, detail := range status.Convert(err).Details() {
			if info, ok := detail.(*errdetails.RetryInfo); ok {
				delays = append(delays, info.GetRetryDelay().AsDuration())
			}
		}
		assert.Equal(t, []time.Duration{time.Second}, delays)
		time.Sleep(2 * ext.uploadLimit) // it is all there: nothing happens to it now
		handler.end <- struct{}{}
		require.NoError(t, <-first)
	}
	deny = denied
	require.ErrorIs(t, export(good), denied)
	require.ErrorIs(t, export(large), denied, "who is not let in is told nothing else")
	deny = nil
	require.NoError(t, export(ptraceotlp.NewExportRequest()))

	s.GracefulStop()
	assert.Zero(t, ext.limits.used)
	assert.Empty(t, ext.limits.usedBy)
	ext.encoded.Range(func(key, _ any) bool { t.Errorf("left behind: %v", key); return true })
	var statuses []any
	for _, entry := range logged.All() {
		statuses = append(statuses, entry.ContextMap()["status"])
	}
	assert.ElementsMatch(t, []any{"InvalidArgument", "InvalidArgument", "Unavailable", "Unavailable", "Unauthenticated", "Unauthenticated"}, statuses)
}

// One client that takes all it may leaves as much for others.
func TestOneClientTakesHalf(t *testing.T) {
	one, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	l := limits{inFlight: 10}
	assert.True(t, l.take(one, 5))
	assert.False(t, l.take(one, 1))
	assert.True(t, l.take(other, 3))
	assert.False(t, l.take(other, 3))
	l.release(one, 5)
	assert.True(t, l.take(one, 1))
	l.release(one, 1)
	l.release(other, 3)
	assert.Empty(t, l.usedBy)
}

// halfMessages opens a connection with n requests of which the end does not come.
func halfMessages(t *testing.T, address string, n int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	require.NoError(t, framer.WriteSettings())
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for i := range n {
		header.Reset()
		for _, field := range []hpack.HeaderField{
			{Name: ":method", Value: "POST"},
			{Name: ":scheme", Value: "http"},
			{Name: ":path", Value: "/opentelemetry.proto.collector.trace.v1.TraceService/Export"},
			{Name: ":authority", Value: "collector"},
			{Name: "content-type", Value: "application/grpc"},
			{Name: "te", Value: "trailers"},
		} {
			require.NoError(t, encoder.WriteField(field))
		}
		stream := uint32(1 + 2*i)
		require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: header.Bytes(), EndHeaders: true}))
		require.NoError(t, framer.WriteData(stream, false, []byte{0, 0, 0, 0, 100, 1, 2, 3})) // 3 bytes of 100
	}
	return conn
}

// Requests of which the end does not come take the places of their address, and no more.
func TestHalfMessages(t *testing.T) {
	ext, _ := limited(t)
	address := serve(t, ext)
	slow := halfMessages(t, address, placesOfAddress)
	require.Eventually(t, func() bool { return len(ext.places.all) == placesOfAddress }, 10*time.Second, time.Millisecond)

	export := func(from string, timeout time.Duration) error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := grpc.NewClient("passthrough:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", to) }))
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		_, err = ptraceotlp.NewGRPCClient(conn).Export(ctx, ptraceotlp.NewExportRequest())
		return err
	}
	assert.Equal(t, codes.DeadlineExceeded, status.Code(export("127.0.0.1", 100*time.Millisecond)), "it waits")
	if runtime.GOOS == "linux" { // where all of 127.0.0.0/8 is this machine
		require.NoError(t, export("127.0.0.2", 10*time.Second))
	}
	require.NoError(t, slow.Close())
	require.NoError(t, export("127.0.0.1", 10*time.Second))
	require.Eventually(t, func() bool { return len(ext.places.all) == 0 }, 10*time.Second, time.Millisecond)
}

func TestSlowMessage(t *testing.T) {
	ext, logged := limited(t)
	ext.uploadLimit = time.Millisecond
	halfMessages(t, serve(t, ext), 1)
	require.Eventually(t, func() bool { return logged.Len() == 1 }, 10*time.Second, time.Millisecond)
	fields := logged.All()[0].ContextMap()
	assert.Equal(t, "Canceled", fields["status"])
	assert.Contains(t, fields["reason"], "not there whole in time")
}

// serve starts a gRPC server with ext as its middleware, and returns its address.
func serve(t *testing.T, ext *refusals) string {
	t.Helper()
	return listen(t, ext, func(s *grpc.Server) { ptraceotlp.RegisterGRPCServer(s, newBlocking()) }).Addr().String()
}

func listen(t *testing.T, ext *refusals, register func(*grpc.Server)) net.Listener {
	t.Helper()
	options, err := ext.GetGRPCServerOptions(t.Context())
	require.NoError(t, err)
	s := grpc.NewServer(options...)
	register(s)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	return listener
}

// A request that is within max_decoded_mib is taken when it is alone, read into twice its
// bytes as it is.
func TestLargestIsTaken(t *testing.T) {
	ext, _ := limited(t)
	data, err := spans(700).MarshalProto() // 0.97 MB decoded, 0.25 encoded
	require.NoError(t, err)
	size, err := traces.decodedSize(data)
	require.NoError(t, err)
	require.Greater(t, size, 14<<16)
	require.Less(t, size, 1<<20)
	wrap, err := ext.GetHTTPHandler(t.Context())
	require.NoError(t, err)
	handler, err := wrap(t.Context(), answer(http.StatusOK))
	require.NoError(t, err)
	w := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPost, "/v1/traces", bytes.NewReader(data))
	request.Header.Set("Content-Type", "application/x-protobuf")
	handler.ServeHTTP(w, request)
	assert.Equal(t, http.StatusOK, w.Code)
}

// Zipkin's receiver takes JSON whatever its type says, and protobuf of its own.
func TestLimitsZipkin(t *testing.T) {
	json := []byte("[" + strings.Repeat("{},", 5000) + "{}]") // 15 kB
	protobuf := many(5000, 1)                                 // 10 kB
	for name, tt := range map[string]struct {
		path, kind string
		body       []byte
	}{
		"JSON":                {"/api/v2/spans", "application/json", json},
		"JSON, first version": {"/api/v1/spans", "application/json; charset=utf-8", json},
		"no type":             {"/api/v2/spans", "", json},
		"another path":        {"/v1/traces", "text/plain", json},
		"not quite protobuf":  {"/api/v2/spans", "application/x-protobuf; a=b", json},
		"protobuf":            {"/api/v2/spans", "application/x-protobuf", protobuf},
		"protobuf elsewhere":  {"/v1/traces", "application/x-protobuf", protobuf},
		"Thrift":              {"/api/v1/spans", "application/x-thrift", make([]byte, 100_000)},
	} {
		ext, _ := limited(t)
		wrap, err := ext.GetHTTPHandler(t.Context())
		require.NoError(t, err)
		handler, err := wrap(t.Context(), answer(http.StatusAccepted))
		require.NoError(t, err)
		w := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, tt.path, bytes.NewReader(tt.body))
		request.Header.Set("Content-Type", tt.kind)
		handler.ServeHTTP(w, request)
		assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code, name)
	}
}

// Jaeger's requests are sized too, and give their places back before the receiver has them.
func TestLimitsJaeger(t *testing.T) {
	ext, _ := limited(t)
	receiver := &jaegerReceiver{newBlocking()}
	listener := listen(t, ext, func(s *grpc.Server) { api_v2.RegisterCollectorServiceServer(s, receiver) })
	conn, err := grpc.NewClient("passthrough:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	client := api_v2.NewCollectorServiceClient(conn)

	large := &api_v2.PostSpansRequest{}
	for range 5000 {
		large.Batch.Spans = append(large.Batch.Spans, &model.Span{})
	}
	_, err = client.PostSpans(t.Context(), large)
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	require.ErrorContains(t, err, "max_decoded_mib")

	const calls = placesOfAddress + 1
	done := make(chan error, calls)
	for range calls {
		go func() {
			_, err := client.PostSpans(context.Background(), &api_v2.PostSpansRequest{Batch: model.Batch{Spans: []*model.Span{{}}}})
			done <- err
		}()
	}
	for range calls { // all of them at once
		receiver.await(t)
	}
	for range calls {
		receiver.end <- struct{}{}
		require.NoError(t, <-done)
	}
}

type jaegerReceiver struct{ *blocking }

func (r *jaegerReceiver) PostSpans(_ context.Context, request *api_v2.PostSpansRequest) (*api_v2.PostSpansResponse, error) {
	if len(request.Batch.Spans) != 1 {
		return nil, status.Error(codes.Internal, "not what was sent")
	}
	r.serve()
	return &api_v2.PostSpansResponse{}, nil
}

// More calls than may arrive at once are told to come again, and those that may are
// told apart by address.
func TestArriving(t *testing.T) {
	var a arriving
	one, other, third := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	for range arrivingOfAddress {
		require.True(t, a.enter(one))
		require.True(t, a.enter(other))
	}
	assert.False(t, a.enter(third), "there are as many as there may be of all")
	a.exit(other)
	assert.False(t, a.enter(one))
	assert.True(t, a.enter(third))
	a.exit(third)
	for range arrivingOfAddress {
		a.exit(one)
	}
	for range arrivingOfAddress - 1 {
		a.exit(other)
	}
	assert.Empty(t, a.of)
	assert.Zero(t, a.all)
}

func TestTooManyArrive(t *testing.T) {
	ext, logged := limited(t)
	address := serve(t, ext)
	for range arrivingOfAddress / 64 {
		halfMessages(t, address, 64)
	}
	halfMessages(t, address, 1)
	require.Eventually(t, func() bool { return logged.Len() > 0 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, "Unavailable", logged.All()[0].ContextMap()["status"])
}

// Headers take memory before anything is known of a call.
func TestHeaderLimit(t *testing.T) {
	ext, _ := limited(t)
	conn, err := grpc.NewClient("passthrough:"+serve(t, ext), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	client := ptraceotlp.NewGRPCClient(conn)
	for n, want := range map[int]bool{headerLimit / 2: true, 2 * headerLimit: false} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", n))
		_, err = client.Export(ctx, ptraceotlp.NewExportRequest())
		assert.Equal(t, want, err == nil, "%d: %v", n, err)
	}
}

// A few bytes by zstd cannot ask for any memory they like.
func TestZstdWindow(t *testing.T) {
	decompress := func(window byte) error {
		// A frame of RFC 8878: magic, no content size, a window of 2^(10+n), one empty raw block.
		frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, window << 3, 1, 0, 0}
		r, err := encoding.GetCompressor("zstd").Decompress(bytes.NewReader(frame))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		return err
	}
	require.NoError(t, decompress(13), "8 MiB")
	require.Error(t, decompress(14), "16 MiB")
}
