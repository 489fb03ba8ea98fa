// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadatatest"
)

const limit = 1000 // bytes of a request's body

// start makes the extension by its factory, with its log and its metrics to look at.
func start(t testing.TB) (extension.Extension, *observer.ObservedLogs, *componenttest.Telemetry) {
	t.Helper()
	telemetry := componenttest.NewTelemetry()
	core, logs := observer.New(zap.InfoLevel)
	set := extensiontest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	set.Logger = zap.New(core)
	ext, err := NewFactory().Create(t.Context(), set, NewFactory().CreateDefaultConfig())
	require.NoError(t, err)
	require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, ext.Shutdown(t.Context())) })
	return ext, logs, telemetry
}

// server is an HTTP server as a receiver makes it, with ext as its middleware.
func server(t testing.TB, ext extension.Extension, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	id := component.NewID(metadata.Type)
	config := confighttp.NewDefaultServerConfig()
	config.MaxRequestBodySize = limit
	config.Middlewares = []configmiddleware.Config{{ID: id}}
	made, err := config.ToServer(t.Context(), map[component.ID]component.Component{id: ext}, componenttest.NewNopTelemetrySettings(), handler)
	require.NoError(t, err)
	s := httptest.NewServer(made.Handler)
	t.Cleanup(s.Close)
	return s
}

// answer reads the body and answers status, or 400 as upstream's receiver when the
// body cannot be read.
func answer(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			status = http.StatusBadRequest
		}
		w.WriteHeader(status)
	}
}

func TestHTTP(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, err := w.Write(make([]byte, limit+1))
	require.NoError(t, err)
	require.NoError(t, w.Close())

	for name, tt := range map[string]struct {
		answer   int
		body     []byte
		encoding string
		status   int
		refused  string // status in log and metric; empty: neither
	}{
		"good":                    {answer: 200, status: 200},
		"full":                    {answer: 503, status: 503},
		"malformed":               {answer: 400, status: 400, refused: "400"},
		"wrong type":              {answer: 415, status: 415, refused: "415"},
		"at the limit":            {answer: 200, body: make([]byte, limit), status: 200},
		"over the limit":          {answer: 200, body: make([]byte, limit+1), status: 413, refused: "413"},
		"over it when unpacked":   {answer: 200, body: bomb.Bytes(), encoding: "gzip", status: 413, refused: "413"},
		"within it, refused, 400": {answer: 400, body: make([]byte, limit), status: 400, refused: "400"},
	} {
		t.Run(name, func(t *testing.T) {
			ext, logs, telemetry := start(t)
			s := server(t, ext, answer(tt.answer))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/traces", bytes.NewReader(tt.body))
			require.NoError(t, err)
			if tt.encoding != "" {
				req.Header.Set("Content-Encoding", tt.encoding)
			}
			resp, err := s.Client().Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			s.Close() // waits for the handler's end

			assert.Equal(t, tt.status, resp.StatusCode)
			if tt.refused == "" {
				assert.Zero(t, logs.Len())
				return
			}
			require.Equal(t, 1, logs.Len())
			fields := logs.All()[0].ContextMap()
			assert.Regexp(t, `^127\.0\.0\.1:\d+$`, fields["client"])
			delete(fields, "client")
			assert.Equal(t, map[string]any{"transport": "http", "status": tt.refused, "target": "POST /v1/traces"}, fields)
			assertCounted(t, telemetry, "http", tt.refused)
		})
	}
}

func TestTargetIsBounded(t *testing.T) {
	ext, logs, _ := start(t)
	s := server(t, ext, answer(http.StatusNotFound))
	resp, err := s.Client().Get(s.URL + "/" + strings.Repeat("x", 10_000))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	s.Close()
	require.Equal(t, 1, logs.Len())
	assert.Len(t, logs.All()[0].ContextMap()["target"], longestTarget)
}

func TestGRPC(t *testing.T) {
	ext, logs, telemetry := start(t)
	options, err := ext.(*refusals).GetGRPCServerOptions(t.Context())
	require.NoError(t, err)
	s := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(limit))...)
	healthpb.RegisterHealthServer(s, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	client := healthpb.NewHealthClient(conn)

	_, err = client.Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "unknown"})
	require.Equal(t, codes.NotFound, status.Code(err), "not a bad request")
	_, err = client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: strings.Repeat("x", limit)})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))

	require.NoError(t, conn.Close())
	s.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		require.NoError(t, err)
	}
	require.Equal(t, 1, logs.Len())
	fields := logs.All()[0].ContextMap()
	assert.Regexp(t, `^127\.0\.0\.1:\d+$`, fields["client"])
	delete(fields, "client")
	assert.Equal(t, map[string]any{"transport": "grpc", "status": "ResourceExhausted", "target": "/grpc.health.v1.Health/Check"}, fields)
	assertCounted(t, telemetry, "grpc", "ResourceExhausted")
}

func assertCounted(t *testing.T, telemetry *componenttest.Telemetry, transport, status string) {
	t.Helper()
	metadatatest.AssertEqualExtensionRefusalsRequests(t, telemetry, []metricdata.DataPoint[int64]{{
		Value:      1,
		Attributes: attribute.NewSet(attribute.String("status", status), attribute.String("transport", transport)),
	}}, metricdatatest.IgnoreTimestamp())
}
