// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// fixture is an exporter, made by the factory from the defaults and the keys under test, and where it sends to.
type fixture struct {
	t       *testing.T
	backend *ingestion.Server
	tel     *componenttest.Telemetry
	logs    *observer.ObservedLogs
	cfg     *Config
	set     exporter.Settings
	host    component.Host
}

// newFixture makes an exporter without queue and retry, so that a push's own result is what Consume returns.
// Settings override that too.
func newFixture(t *testing.T, settings map[string]any) *fixture {
	t.Helper()
	f := &fixture{t: t, backend: ingestion.Start(t), tel: componenttest.NewTelemetry(), host: componenttest.NewNopHost()}
	t.Cleanup(func() { require.NoError(t, f.tel.Shutdown(context.Background())) })
	f.configure(settings)
	return f
}

func (f *fixture) configure(settings map[string]any) {
	f.t.Helper()
	all := map[string]any{
		"connection_string": f.backend.ConnectionString(),
		"sending_queue":     map[string]any{"enabled": false},
		"retry_on_failure":  map[string]any{"enabled": false},
	}
	maps.Copy(all, settings)
	f.cfg = NewFactory().CreateDefaultConfig().(*Config)
	require.NoError(f.t, confmap.NewFromStringMap(all).Unmarshal(f.cfg))
	require.NoError(f.t, confmap.Validate(f.cfg))
	core, logs := observer.New(zapcore.DebugLevel)
	f.logs = logs
	f.set = exportertest.NewNopSettings(NewFactory().Type())
	f.set.TelemetrySettings = f.tel.NewTelemetrySettings()
	f.set.Logger = zap.New(core)
	f.set.BuildInfo.Version = "1.2.3"
}

// run starts c until the test ends.
func (f *fixture) run(c component.Component) {
	f.t.Helper()
	require.NoError(f.t, c.Start(context.Background(), f.host))
	f.t.Cleanup(func() { require.NoError(f.t, c.Shutdown(context.Background())) })
}

func (f *fixture) traces() exporter.Traces {
	f.t.Helper()
	x, err := NewFactory().CreateTraces(context.Background(), f.set, f.cfg)
	require.NoError(f.t, err)
	f.run(x)
	return x
}

func (f *fixture) metrics() exporter.Metrics {
	f.t.Helper()
	x, err := NewFactory().CreateMetrics(context.Background(), f.set, f.cfg)
	require.NoError(f.t, err)
	f.run(x)
	return x
}

func (f *fixture) logRecords() exporter.Logs {
	f.t.Helper()
	x, err := NewFactory().CreateLogs(context.Background(), f.set, f.cfg)
	require.NoError(f.t, err)
	f.run(x)
	return x
}

// only returns the one envelope that arrived, and fails when ingestion refused anything.
func (f *fixture) only() *ingestion.Envelope {
	f.t.Helper()
	require.Empty(f.t, f.backend.Rejected())
	got := f.backend.Accepted()
	require.Len(f.t, got, 1)
	return got[0]
}

// someTraces makes n client spans with ids of their own.
func someTraces(n int) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "checkout")
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	for i := range n {
		newSpan(spans.AppendEmpty(), i)
	}
	return td
}

func newSpan(s ptrace.Span, i int) {
	s.SetTraceID(traceIDOf(uint64(i)))
	s.SetSpanID(spanIDOf(uint64(i)))
	s.SetKind(ptrace.SpanKindClient)
	s.SetName("call")
	s.SetStartTimestamp(testStart)
	s.SetEndTimestamp(testStart + pcommon.Timestamp(1500*time.Millisecond))
}

// testStart is recent, because ingestion takes nothing older than two days.
var testStart = pcommon.NewTimestampFromTime(time.Now().Add(-time.Minute).Truncate(time.Second))

func traceIDOf(n uint64) (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:], 0xA1B2C3D4E5F60718*(n+1))
	binary.BigEndian.PutUint64(id[8:], n+1)
	return id
}

func spanIDOf(n uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], 0x9E3779B97F4A7C15*(n+1))
	return id
}

// newTestExporter makes one that is not started, with settings on top of the defaults.
func newTestExporter(tb testing.TB, settings map[string]any) *appInsights {
	tb.Helper()
	cfg := createDefaultConfig().(*Config)
	all := map[string]any{"connection_string": "InstrumentationKey=" + ingestion.InstrumentationKey}
	maps.Copy(all, settings)
	require.NoError(tb, confmap.NewFromStringMap(all).Unmarshal(cfg))
	require.NoError(tb, confmap.Validate(cfg))
	x, err := newAppInsights(cfg, exportertest.NewNopSettings(NewFactory().Type()))
	require.NoError(tb, err)
	return x
}

func encodeTraces(e *encoder, td ptrace.Traces) {
	for _, rs := range td.ResourceSpans().All() {
		e.setResource(rs.Resource())
		for _, ss := range rs.ScopeSpans().All() {
			e.setScope(ss.Scope())
			for _, s := range ss.Spans().All() {
				e.own.clear()
				e.own.collect(s.Attributes())
				e.item(func() { e.span(s) })
			}
		}
	}
}

func nan() float64 { return math.NaN() }
func inf() float64 { return math.Inf(1) }

func unzip(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	if encoding != "gzip" {
		return body
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	require.NoError(t, err)
	plain, err := io.ReadAll(r)
	require.NoError(t, err)
	return plain
}

// dumped is what the collector prints of a configuration.
func dumped(t *testing.T, cfg *Config) string {
	t.Helper()
	conf := confmap.New()
	require.NoError(t, conf.Marshal(cfg))
	return fmt.Sprint(conf.ToStringMap())
}
