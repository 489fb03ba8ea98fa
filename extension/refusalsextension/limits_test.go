// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"testing"
	"time"

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
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
)

// limited makes the extension with both limits at 1 MiB, and its log.
func limited(t *testing.T) (*refusals, *observer.ObservedLogs) {
	t.Helper()
	core, logged := observer.New(zap.InfoLevel)
	set := extensiontest.NewNopSettings(metadata.Type)
	set.Logger = zap.New(core)
	ext, err := NewFactory().Create(t.Context(), set, &Config{MaxDecodedMiB: 1, MaxInFlightMiB: 1})
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
	id := component.NewID(metadata.Type)
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
	assert.Zero(t, ext.limits.used.Load())
}

// What is not in memory yet is not reserved: a client that sends slowly takes what it sent.
func TestReadReservesAsItComes(t *testing.T) {
	l := &limits{inFlight: 64 << 10}
	body := reservedBody{limits: l}
	data, err := body.read(bytes.NewReader(make([]byte, 5000)))
	require.NoError(t, err)
	assert.Len(t, data, 5000)
	assert.EqualValues(t, 8<<10, l.used.Load())
	body.release()

	body = reservedBody{limits: l}
	_, err = body.read(bytes.NewReader(make([]byte, 64<<10+1)))
	require.ErrorIs(t, err, errFull)
	body.release()
	assert.Zero(t, l.used.Load())
}

func TestLimitsGRPC(t *testing.T) {
	ext, logged := limited(t)
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
		handler.end <- struct{}{}
		require.NoError(t, <-first)
	}
	deny = denied
	require.ErrorIs(t, export(good), denied)
	require.ErrorIs(t, export(large), denied, "who is not let in is told nothing else")
	deny = nil
	require.NoError(t, export(ptraceotlp.NewExportRequest()))

	s.GracefulStop()
	assert.Zero(t, ext.limits.used.Load())
	ext.decoded.Range(func(key, _ any) bool { t.Errorf("left behind: %v", key); return true })
	var reasons []any
	for _, entry := range logged.All() {
		reasons = append(reasons, entry.ContextMap()["status"])
	}
	assert.ElementsMatch(t, []any{"InvalidArgument", "InvalidArgument", "Unavailable", "Unavailable", "Unauthenticated"}, reasons)
}
