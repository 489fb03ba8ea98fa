// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
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
func TestAzure(t *testing.T) {
	server, c, s := atAzure(t, "azure", func(s *telemetry.Shop) []wantedSpan {
		return []wantedSpan{
			{s.Page, pcommon.SpanID{}, "RequestData", "shop.frontend", map[string]string{
				"name": "GET /checkout/{id}", "responseCode": "200", "success": "true",
				"url": "https://shop.example.com/checkout/17?gift=1", "duration": "00:00:00.2500000",
			}},
			{s.Price, s.Page, "RemoteDependencyData", "shop.frontend", map[string]string{"name": "price basket", "type": "InProc", "success": "true"}},
			{s.Order, s.Price, "RemoteDependencyData", "shop.frontend", map[string]string{
				"name": "POST /orders", "type": "Http", "resultCode": "502", "success": "false", "data": "http://cart:8080/orders", "target": "cart:8080",
			}},
			{s.Announce, s.Page, "RemoteDependencyData", "shop.frontend", map[string]string{"type": "Queue Message | kafka"}},
			{s.Accept, s.Order, "RequestData", "basket-api", map[string]string{
				"name": "POST /orders", "responseCode": "502", "success": "false", "url": "http://cart:8080/orders",
			}},
			{s.Process, pcommon.SpanID{}, "RequestData", "basket-api", map[string]string{"name": "orders process"}},
		}
	})
	exception := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Data.BaseType == "ExceptionData" })
	assert.Contains(t, exception.Text("exceptions"), "shop.CardError")
	assert.Equal(t, s.Order.String(), exception.Tags["ai.operation.parentId"])
	// The summary, sent twice; cumulative_to_delta converts all but those.
	assert.Equal(t, 2.0, c.Metric(t, "otelcol_exporter_applicationinsights_cumulative_points")) //nolint:testifylint // a count
	assert.Contains(t, c.Stderr.String(), `"type": "Summary"`)
	assert.NotContains(t, c.Stderr.String(), "Put the cumulative_to_delta processor in front")
	c.Stop(t)
	assert.Empty(t, server.Rejected())
}

// The same by upstream's exporter, as far as it goes.
func TestAzureContrib(t *testing.T) {
	server, c, s := atAzure(t, "azure-contrib", func(s *telemetry.Shop) []wantedSpan {
		return []wantedSpan{
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
		}
	})
	exception := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Data.BaseType == "ExceptionData" })
	assert.Contains(t, exception.Text("exceptions"), "shop.CardError")
	assert.Equal(t, s.Order.String(), exception.Tags["ai.operation.parentId"])
	event := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Text("message") == "basket loaded" })
	assert.Equal(t, s.Page.String(), event.Tags["ai.operation.parentId"])
	c.Stop(t)
	assert.Empty(t, server.Rejected())
}

// wantedSpan is what becomes of a span.
type wantedSpan struct {
	span, parent   pcommon.SpanID
	baseType, role string
	fields         map[string]string
}

// atAzure sends a visit by way of a backend file and looks at what arrives.
func atAzure(t *testing.T, backend string, wanted func(*telemetry.Shop) []wantedSpan) (*ingestion.Server, *collector.Collector, *telemetry.Shop) {
	t.Helper()
	server := ingestion.Start(t)
	config := mode("sidecar").config(t, backend, map[string]string{
		"APPLICATIONINSIGHTS_CONNECTION_STRING": server.ConnectionString(),
	})
	// A role that the exporter would not find by itself.
	config.Overlay = "processors::cloudrole::mappings::cart: basket-api"
	c := collector.Start(t, config)
	s := telemetry.NewShop()
	send(t, c, s)

	for _, want := range wanted(s) {
		e := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Text("id") == want.span.String() })
		assert.Equal(t, want.baseType, e.Data.BaseType)
		assert.Equal(t, s.TraceID.String(), e.Tags["ai.operation.id"])
		parent := want.parent.String()
		if backend == "azure" && want.parent.IsEmpty() {
			parent = "" // left out
		}
		assert.Equal(t, parent, e.Tags["ai.operation.parentId"])
		assert.Equal(t, want.role, e.Tags["ai.cloud.role"])
		assert.Equal(t, s.Instance, e.Tags["ai.cloud.roleInstance"])
		for field, value := range want.fields {
			assert.Equal(t, value, e.Text(field), "%s of %s", field, e.Text("name"))
		}
	}
	require.NoError(t, atIngestion(&backends{ingestion: server}, s), "each span is sent once")

	// The log records belong to the same operation.
	for message, parent := range map[string]string{"basket loaded\nwith 3 things": s.Page.String(), "heartbeat": ""} {
		e := awaitEnvelope(t, server, func(e *ingestion.Envelope) bool { return e.Text("message") == message })
		assert.Equal(t, "MessageData", e.Data.BaseType)
		assert.Equal(t, parent, e.Tags["ai.operation.parentId"])
		assert.Equal(t, "shop.frontend", e.Tags["ai.cloud.role"])
	}

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
	return server, c, s
}

// The connection string is opaque: nothing that the binary says, at whatever
// level and whatever happens, has it or a part of it but the host, which an
// operator needs when it cannot be reached.
func TestAzureTellsNoSecrets(t *testing.T) {
	server := ingestion.Start(t)
	const path = "a-path-that-is-a-secret"
	connection := "InstrumentationKey=" + ingestion.InstrumentationKey + ";IngestionEndpoint=http://" + server.Address + "/" + path +
		"/;ApplicationId=an-id-that-is-a-secret"
	hidden := func(t *testing.T, where, text string) {
		t.Helper()
		require.NotEmpty(t, text, where)
		for _, secret := range []string{ingestion.InstrumentationKey, path, "an-id-that-is-a-secret"} {
			assert.NotContains(t, text, secret, where)
		}
	}
	config := mode("sidecar").config(t, "azure", map[string]string{"APPLICATIONINSIGHTS_CONNECTION_STRING": connection})
	config.Overlay = "service::telemetry::logs::level: debug\nservice::telemetry::traces: {level: basic, processors: [{simple: {exporter: {console: {}}}}]}\nexporters::applicationinsights::retry_on_failure::initial_interval: 10ms"
	// Refused, put off, in words that have the key; a redirect to nowhere; an
	// reset; a path that is not there, and then nobody at all.
	message := "invalid instrumentation key " + ingestion.InstrumentationKey
	body := func(status int) string {
		return fmt.Sprintf(`{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":%d,"message":%q}]}`, status, message)
	}
	server.Next(
		ingestion.Answer{Status: http.StatusForbidden, Body: body(http.StatusForbidden)},
		ingestion.Answer{Status: http.StatusTooManyRequests, Body: body(http.StatusTooManyRequests)},
		ingestion.Answer{Status: http.StatusPermanentRedirect, Header: http.Header{"Location": {"ftp://x/" + path}}},
		ingestion.Answer{Status: http.StatusOK, Body: "<html>" + path},
		ingestion.Answer{Fault: ingestion.Reset},
		ingestion.Answer{Status: http.StatusBadRequest, Body: body(http.StatusBadRequest)},
	)
	c := collector.Start(t, config)
	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c)
	require.NoError(t, client.Traces(t.Context(), telemetry.Numbered("one", telemetry.NewTraceID(), 0, 1)))
	c.AwaitMetric(t, 1, "otelcol_exporter_applicationinsights_refused_items", "status=400")
	// The stand-in knows no such path, and says which.
	require.NoError(t, client.Traces(t.Context(), telemetry.Numbered("lost", telemetry.NewTraceID(), 2, 1)))
	c.AwaitMetric(t, 1, "otelcol_exporter_applicationinsights_refused_items", "status=404")
	server.Stop()
	require.NoError(t, client.Traces(t.Context(), telemetry.Numbered("two", telemetry.NewTraceID(), 1, 1)))
	harness.Await(t, "an attempt that fails", func() error {
		if !strings.Contains(c.Stderr.String(), "connection refused") {
			return errors.New("no attempt was made")
		}
		return nil
	})

	zpages := "http://" + c.Endpoint(t, "extensions::zpages")
	for _, page := range []string{"/debug/servicez", "/debug/pipelinez", "/debug/extensionz", "/debug/featurez", "/debug/tracez"} {
		text, err := harness.Get(zpages + page)
		require.NoError(t, err)
		hidden(t, page, string(text))
	}
	metrics, err := harness.Get("http://" + c.MetricsAddress + "/metrics")
	require.NoError(t, err)
	hidden(t, "metrics", string(metrics))
	cmdline, err := harness.Get("http://" + c.Endpoint(t, "extensions::pprof") + "/debug/pprof/cmdline")
	require.NoError(t, err)
	hidden(t, "command line", string(cmdline))
	c.Stop(t)
	hidden(t, "log", c.Stdout.String()+c.Stderr.String())
	assert.Contains(t, c.Stderr.String(), "invalid instrumentation key (hidden)", "ingestion's words are told without it")

	dump := collector.Run(t, "print-config", config)
	require.Zero(t, dump.ExitCode(), dump.Stderr.String())
	assert.Contains(t, dump.Stdout.String(), "connection_string: '[REDACTED]'")
	hidden(t, "print-config", dump.Stdout.String()+dump.Stderr.String())

	for name, broken := range map[string]string{
		"no key":      strings.Replace(connection, "InstrumentationKey=", "Key=", 1),
		"no URL":      strings.Replace(connection, "http://", "ftp://", 1),
		"no =":        connection + ";" + path,
		"key twice":   connection + ";InstrumentationKey=" + path,
		"auth":        connection + ";Authorization=" + path,
		"not a value": path,
	} {
		for _, command := range []string{"validate", ""} {
			p := collector.Run(t, command, config.With(map[string]string{"APPLICATIONINSIGHTS_CONNECTION_STRING": broken}))
			assert.NotZero(t, p.ExitCode(), name)
			hidden(t, command+" "+name, p.Stdout.String()+p.Stderr.String())
			assert.Contains(t, p.Stderr.String(), "connection_string: ", name)
		}
	}
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
