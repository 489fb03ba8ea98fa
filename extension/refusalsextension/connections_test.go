// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/connections"
	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadata"
	"github.com/otelcol-custom/otelcol-custom/extension/refusalsextension/internal/metadatatest"
)

// Connections over the limit are ended, in the log and counted.
func TestConnections(t *testing.T) {
	if _, stop, err := connections.Limit(2, nil); err != nil {
		t.Skip(err)
	} else {
		stop()
	}
	telemetry := componenttest.NewTelemetry()
	core, logs := observer.New(zap.InfoLevel)
	set := extensiontest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	set.Logger = zap.New(core)
	config := NewFactory().CreateDefaultConfig().(*Config)
	config.MaxConnections = 2
	ext, err := NewFactory().Create(t.Context(), set, config)
	require.NoError(t, err)
	s := httptest.NewServer(answer(200))
	t.Cleanup(s.Close)
	dial := func() net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		return conn
	}
	says := func(conn net.Conn) error {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	first, second := dial(), dial()
	require.NoError(t, says(first))
	require.NoError(t, says(second))
	require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool { return says(first) != nil || says(second) != nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, ext.Shutdown(t.Context()))

	require.Equal(t, 1, logs.FilterMessage("Connections ended").Len())
	assert.Equal(t, map[string]any{"client": "127.0.0.9", "had": int64(2), "ended": int64(1), "max_connections": int64(2)}, logs.All()[0].ContextMap())
	metadatatest.AssertEqualExtensionRefusalsConnections(t, telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
}
