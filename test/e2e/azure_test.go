// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// A visit arrives at Application Insights as requests and dependencies of one
// operation, in the roles that cloudrole decides, and nothing of it is refused.
func TestAzureContrib(t *testing.T) {
	server := ingestion.Start(t)
	config := mode("sidecar").config(t, "azure-contrib", map[string]string{
		"APPLICATIONINSIGHTS_CONNECTION_STRING": server.ConnectionString(),
	})
	// A role that the exporter would not find by itself.
	config.Overlay = "processors::cloudrole::mappings::cart: basket-api"
	c := collector.Start(t, config)
	s := telemetry.NewShop()
	send(t, c, s)

	for _, want := range []struct {
		span, parent   pcommon.SpanID
		baseType, role string
		fields         map[string]string
	}{
		{s.Page, pcommon.SpanID{}, "RequestData", "shop.frontend", map[string]string{
			"responseCode": "200", "success": "true", "url": "https://shop.example.com/checkout/17?gift=1",
			"duration": "00.00:00:00.250000",
		}},
		{s.Price, s.Page, "RemoteDependencyData", "shop.frontend", map[string]string{"name": "price basket", "success": "true"}},
		{s.Order, s.Price, "RemoteDependencyData", "shop.frontend", map[string]string{
			"resultCode": "502", "success": "false", "data": "http://cart:8080/orders", "target": "cart:8080",
		}},
		{s.Announce, s.Page, "RemoteDependencyData", "shop.frontend", map[string]string{"type": "kafka"}},
		{s.Accept, s.Order, "RequestData", "basket-api", map[string]string{
			"responseCode": "502", "success": "false", "url": "http://cart:8080/orders",
		}},
		{s.Process, pcommon.SpanID{}, "RequestData", "basket-api", map[string]string{"name": "orders process"}},
	} {
		e := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Text("id") == want.span.String() })
		assert.Equal(t, want.baseType, e.Data.BaseType)
		assert.Equal(t, s.TraceID.String(), e.Tags["ai.operation.id"])
		assert.Equal(t, want.parent.String(), e.Tags["ai.operation.parentId"])
		assert.Equal(t, want.role, e.Tags["ai.cloud.role"])
		assert.Equal(t, s.Instance, e.Tags["ai.cloud.roleInstance"])
		for field, value := range want.fields {
			assert.Equal(t, value, e.Text(field), "%s of %s", field, e.Text("name"))
		}
	}
	require.NoError(t, atIngestion(&backends{ingestion: server}, s), "each span is sent once")

	// The exception of a span and the log records belong to the same operation.
	for message, parent := range map[string]pcommon.SpanID{
		"basket loaded":                s.Page, // the event
		"basket loaded\nwith 3 things": s.Page, // the log record
		"heartbeat":                    {},
	} {
		e := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Text("message") == message })
		assert.Equal(t, "MessageData", e.Data.BaseType)
		assert.Equal(t, parent.String(), e.Tags["ai.operation.parentId"])
		assert.Equal(t, "shop.frontend", e.Tags["ai.cloud.role"])
	}
	exception := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Data.BaseType == "ExceptionData" })
	assert.Contains(t, exception.Text("exceptions"), "shop.CardError")
	assert.Equal(t, s.Order.String(), exception.Tags["ai.operation.parentId"])

	// Application Insights adds up what it is sent, so of a cumulative sum it
	// gets what was added: of 17 and then 20 visits to the hall, the 3.
	raise(s.Metrics, "shop.visits", 3)
	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.HTTPProtobuf}, c)
	require.NoError(t, client.Metrics(t.Context(), s.Metrics))
	visits := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool {
		return e.Properties()["room"] == "hall" && metric(e)["name"] == "shop.visits"
	})
	assert.Equal(t, "3", fmt.Sprint(metric(visits)["value"]))
	assert.Equal(t, "shop.frontend", visits.Tags["ai.cloud.role"])

	c.Stop(t)
	assert.Empty(t, server.Rejected())
}

func awaitEnvelope(t *testing.T, server *ingestion.Server, is func(*ingestion.Envelope) bool) *ingestion.Envelope {
	t.Helper()
	var found *ingestion.Envelope
	harness.Await(t, "envelope", func() error {
		accepted := server.Accepted()
		for _, e := range accepted {
			if is(e) {
				found = e
				return nil
			}
		}
		return fmt.Errorf("not among %d; refused: %v", len(accepted), server.Rejected())
	})
	return found
}

func metric(e *ingestion.Envelope) map[string]any {
	points, _ := e.Data.BaseData["metrics"].([]any)
	if len(points) == 0 {
		return nil
	}
	point, _ := points[0].(map[string]any)
	return point
}

// raise adds to the points of a sum, a second later.
func raise(md pmetric.Metrics, name string, by int64) {
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Name() != name {
			continue
		}
		for _, p := range m.Sum().DataPoints().All() {
			p.SetIntValue(p.IntValue() + by)
			p.SetTimestamp(pcommon.NewTimestampFromTime(p.Timestamp().AsTime().Add(time.Second)))
		}
	}
}
