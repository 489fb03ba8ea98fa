// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/plogtest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// An OTLP backend gets what was sent, unchanged but for the role: by gRPC, and
// by HTTP below a path prefix and behind Basic authentication.
func TestOTLP(t *testing.T) {
	for backend, config := range map[string]otlpserver.Config{
		"otlp":        {},
		"openobserve": {Prefix: openObservePrefix, Username: openObserveUser, Password: openObservePassword},
	} {
		t.Run(backend, func(t *testing.T) {
			server := otlpserver.Start(t, config)
			c := collector.Start(t, mode("sidecar").config(t, backend, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + server.GRPC,
				"OPENOBSERVE_ENDPOINT":        server.URL(),
				"OPENOBSERVE_USERNAME":        config.Username,
				"OPENOBSERVE_PASSWORD":        config.Password,
			}))
			s := telemetry.NewShop()
			send(t, c, s)
			harness.Await(t, "telemetry at the backend", func() error {
				if n := server.Traces.SpanCount(); n != s.Traces.SpanCount() {
					return fmt.Errorf("%d spans", n)
				}
				if n := server.Metrics.DataPointCount(); n != s.Metrics.DataPointCount() {
					return fmt.Errorf("%d data points", n)
				}
				if n := server.Logs.LogRecordCount(); n != s.Logs.LogRecordCount() {
					return fmt.Errorf("%d log records", n)
				}
				return nil
			})

			for _, rs := range s.Traces.ResourceSpans().All() {
				giveRole(rs.Resource())
			}
			giveRole(s.Metrics.ResourceMetrics().At(0).Resource())
			giveRole(s.Logs.ResourceLogs().At(0).Resource())
			require.NoError(t, ptracetest.CompareTraces(s.Traces, server.Traces.AllTraces()[0]))
			require.NoError(t, pmetrictest.CompareMetrics(s.Metrics, server.Metrics.AllMetrics()[0]))
			require.NoError(t, plogtest.CompareLogs(s.Logs, server.Logs.AllLogs()[0]))
			c.Stop(t)
		})
	}
}

// giveRole sets what cloudrole should set.
func giveRole(r pcommon.Resource) {
	service, _ := r.Attributes().Get("service.name")
	instance, _ := r.Attributes().Get("service.instance.id")
	r.Attributes().PutStr("ai.cloud.role", "shop."+service.Str())
	r.Attributes().PutStr("ai.cloud.roleInstance", instance.Str())
}

// A wrong password is not an outage: the OTLP specification counts 401 among
// the answers after which a client must not try again. The spans are dropped,
// and the log and a metric say so.
func TestWrongPassword(t *testing.T) {
	server := otlpserver.Start(t, otlpserver.Config{Prefix: openObservePrefix, Username: openObserveUser, Password: openObservePassword})
	c := collector.Start(t, mode("sidecar").config(t, "openobserve", map[string]string{
		"OPENOBSERVE_ENDPOINT": server.URL(),
		"OPENOBSERVE_USERNAME": openObserveUser,
		"OPENOBSERVE_PASSWORD": "wrong-and-secret",
	}))
	send(t, c, telemetry.NewShop())
	c.AwaitMetric(t, 6, "otelcol_exporter_send_failed_spans", "exporter=otlp_http/openobserve")
	c.Stderr.Await(t, "401")
	assert.Zero(t, server.Traces.SpanCount())
	assert.Zero(t, c.Metric(t, "otelcol_exporter_queue_size", "exporter=otlp_http/openobserve", "data_type=traces"))
	c.Stop(t)
	assert.NotContains(t, c.Stderr.String(), "wrong-and-secret")
}
