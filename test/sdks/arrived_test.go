// SPDX-License-Identifier: Apache-2.0

//go:build sdks

package sdks

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/jaeger"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// conventions are names of attributes that SDKs use for the same things.
type conventions struct {
	method, status, url, server string
}

var (
	oldHTTP = conventions{"http.method", "http.status_code", "http.url", "http.target"}
	newHTTP = conventions{"http.request.method", "http.response.status_code", "url.full", "url.path"}
)

// hop is a service that an order goes through, as it should arrive.
type hop struct {
	service string // service.name, which Jaeger shows
	role    string // which Application Insights shows
	http    conventions
	path    string // that is asked for, without the query
	app     app
	status  int // of its answer
	// span is the name of the request's span; empty is "GET " and the path.
	span string
	// byHand is true where the span has been named by hand.
	byHand bool
}

func (h hop) spanName() string {
	if h.span != "" {
		return h.span
	}
	return "GET " + h.path
}

// request is the name that Application Insights shows.
func (h hop) request() string {
	if h.byHand {
		return h.span
	}
	return "GET " + h.path // however the instrumentation names spans
}

// url is what the service is asked for.
func (h hop) url(o order) string {
	if h.path == "/order" {
		return o.url
	}
	return "http://" + h.app.address + h.path + "?item=" + o.item
}

// outcome is what became of an order.
type outcome struct {
	hops []hop
	// failure is the exception that the front end records; none when empty.
	failure exception
	// inHandler is true where the app's current span is not the request's but
	// that of a handler within.
	inHandler bool
	// nameless is true where the client says nothing of which instance it is.
	nameless bool
	// message is true where the client writes the name of an event into the
	// field that Jaeger calls message.
	message bool
	// onCall is true where the failure stands on the span of the call to the
	// next service, else it is on the app's current span.
	onCall bool
}

type exception struct{ kind, message string }

var none exception

// failed returns the span that the failure should stand on.
func (o outcome) failed(front passage) jaeger.Span {
	if o.onCall {
		return *front.client
	}
	return front.inside
}

// event returns the name of an event.
func (o outcome) event(log jaeger.Log) string {
	if o.message {
		return text(log.Fields, "message")
	}
	return text(log.Fields, "event")
}

// passage is what Jaeger has of a hop.
type passage struct {
	server jaeger.Span
	client *jaeger.Span // nil for the last hop
	inside jaeger.Span  // the app's current span, on which order_id is set: server or a handler's
}

// check compares what has arrived of an order, in Jaeger and in Application
// Insights, with what happened.
func (r *rig) check(t *testing.T, o order, want outcome) {
	t.Helper()
	trace, passages := r.checkJaeger(t, o, want)
	r.checkInsights(t, o, want, trace, passages)
}

// checkJaeger finds the order in Jaeger, one trace in all services.
func (r *rig) checkJaeger(t *testing.T, o order, want outcome) (jaeger.Trace, []passage) {
	t.Helper()
	var trace jaeger.Trace
	var passages []passage
	harness.Await(t, "the order in Jaeger", func() error {
		var err error
		if trace, err = r.jaeger.Trace(o.trace); err != nil {
			return err
		}
		passages, err = pass(trace, o, want)
		return err
	})

	for i, p := range passages {
		h := want.hops[i]
		process := trace.Processes[p.server.ProcessID]
		assert.Equal(t, h.service, process.ServiceName)
		assert.Equal(t, h.role, text(process.Tags, "ai.cloud.role"))

		assert.Equal(t, h.spanName(), p.server.OperationName)
		assert.Equal(t, "GET", text(p.server.Tags, h.http.method))
		assert.Equal(t, strconv.Itoa(h.status), text(p.server.Tags, h.http.status))
		target := text(p.server.Tags, h.http.server)
		if h.http == newHTTP {
			target += "?" + text(p.server.Tags, "url.query")
		}
		sent, err := url.Parse(h.url(o))
		require.NoError(t, err)
		assert.Equal(t, sent.RequestURI(), target)
		if p.client == nil {
			continue
		}
		next := want.hops[i+1]
		assert.Equal(t, "GET", text(p.client.Tags, h.http.method))
		assert.Equal(t, strconv.Itoa(next.status), text(p.client.Tags, h.http.status))
		assert.Equal(t, next.url(o), text(p.client.Tags, h.http.url))
	}

	front := passages[0]
	assert.Equal(t, want.inHandler, front.inside.SpanID != front.server.SpanID)
	var recorded []string
	for _, log := range want.failed(front).Logs {
		if want.event(log) == "exception" {
			recorded = append(recorded, text(log.Fields, "exception.type")+": "+text(log.Fields, "exception.message"))
			assert.Contains(t, text(log.Fields, "exception.stacktrace"), want.failure.message)
		}
	}
	if want.failure == none {
		assert.Empty(t, recorded)
	} else {
		assert.Equal(t, []string{want.failure.kind + ": " + want.failure.message}, recorded)
		assert.Equal(t, "ERROR", text(want.failed(front).Tags, "otel.status_code"))
	}
	return trace, passages
}

// pass follows an order through its trace: each request is the child of the
// call before, each call is below its request, and there are no others.
func pass(trace jaeger.Trace, o order, want outcome) ([]passage, error) {
	spans := map[string]jaeger.Span{}
	below := map[string][]jaeger.Span{} // by parent
	kinds := map[string]int{}
	for _, span := range trace.Spans {
		spans[span.SpanID] = span
		kinds[text(span.Tags, "span.kind")]++
		for _, reference := range span.References {
			if reference.RefType == "CHILD_OF" && reference.TraceID == trace.TraceID {
				below[reference.SpanID] = append(below[reference.SpanID], span)
			}
		}
	}
	if kinds["server"] != len(want.hops) || kinds["client"] != len(want.hops)-1 {
		return nil, fmt.Errorf("spans by kind are %v, want %d server and one client less", kinds, len(want.hops))
	}

	var passages []passage
	parent := o.caller
	for range want.hops {
		server, err := only(below[parent], "server")
		if err != nil {
			return nil, fmt.Errorf("below %s: %w", parent, err)
		}
		p := passage{server: *server, inside: *server}
		for within := []jaeger.Span{*server}; len(within) > 0; within = within[1:] {
			if text(within[0].Tags, "order_id") == o.id {
				p.inside = within[0]
			}
			for _, span := range below[within[0].SpanID] {
				switch text(span.Tags, "span.kind") {
				case "client":
					p.client = &span
				case "internal", "": // Zipkin has no word for it
					within = append(within, span)
				}
			}
		}
		passages = append(passages, p)
		if p.client != nil {
			parent = p.client.SpanID
		}
	}
	if last := passages[len(passages)-1]; last.client != nil {
		return nil, errors.New("the last service calls another")
	}
	if text(passages[0].inside.Tags, "order_id") != o.id {
		return nil, errors.New("no span of the front end has the order_id")
	}
	return passages, nil
}

func only(spans []jaeger.Span, kind string) (*jaeger.Span, error) {
	if len(spans) != 1 {
		return nil, fmt.Errorf("%d spans instead of one", len(spans))
	}
	if got := text(spans[0].Tags, "span.kind"); got != kind {
		return nil, fmt.Errorf("a span of kind %q instead of %q", got, kind)
	}
	return &spans[0], nil
}

// text returns a tag as text, "" when it is not there.
func text(tags jaeger.Tags, key string) string {
	for _, tag := range tags {
		if tag.Key == key {
			return fmt.Sprint(tag.Value)
		}
	}
	return ""
}

// checkInsights finds the order in Application Insights, one operation with a
// role for each service.
func (r *rig) checkInsights(t *testing.T, o order, want outcome, trace jaeger.Trace, passages []passage) {
	t.Helper()
	items := r.operation(t, o.trace, want)
	byID := map[string]*ingestion.Envelope{}
	for _, e := range items {
		if id := e.Text("id"); id != "" {
			assert.NotContains(t, byID, id)
			byID[id] = e
		}
	}

	parent := o.caller
	for i, p := range passages {
		h := want.hops[i]
		request := byID[p.server.SpanID]
		require.NotNil(t, request, "no item for span %s", p.server.SpanID)
		assert.Equal(t, "RequestData", request.Data.BaseType)
		assert.Equal(t, h.request(), request.Text("name"))
		assert.Equal(t, h.request(), request.Tags["ai.operation.name"])
		assert.Equal(t, h.url(o), request.Text("url"))
		assert.Equal(t, strconv.Itoa(h.status), request.Text("responseCode"))
		assert.Equal(t, strconv.FormatBool(h.status < 400), request.Text("success"))
		assert.Equal(t, parent, request.Tags["ai.operation.parentId"])
		assertRole(t, want, h, trace, p, request)
		if p.client == nil {
			continue
		}

		next := want.hops[i+1]
		call := byID[p.client.SpanID]
		require.NotNil(t, call, "no item for span %s", p.client.SpanID)
		assert.Equal(t, "RemoteDependencyData", call.Data.BaseType)
		assert.Equal(t, "Http", call.Text("type"))
		assert.Equal(t, "GET "+next.path, call.Text("name"))
		assert.Equal(t, next.app.address, call.Text("target"))
		assert.Equal(t, next.url(o), call.Text("data"))
		assert.Equal(t, strconv.Itoa(next.status), call.Text("resultCode"))
		assert.Equal(t, strconv.FormatBool(next.status < 400), call.Text("success"))
		assertRole(t, want, h, trace, p, call)
		parent = p.client.SpanID
	}

	front := passages[0]
	assert.Equal(t, o.id, byID[front.inside.SpanID].Properties()["order_id"])
	var thrown []string
	for _, e := range items {
		if e.Data.BaseType != "ExceptionData" {
			continue
		}
		details := e.Data.BaseData["exceptions"].([]any)[0].(map[string]any)
		thrown = append(thrown, fmt.Sprintf("%v: %v", details["typeName"], details["message"]))
		assert.Equal(t, want.failed(front).SpanID, e.Tags["ai.operation.parentId"])
		assert.Contains(t, details["stack"], want.failure.message)
		assertRole(t, want, want.hops[0], trace, front, e)
	}
	if want.failure == none {
		assert.Empty(t, thrown)
	} else {
		assert.Equal(t, []string{want.failure.kind + ": " + want.failure.message}, thrown)
	}
}

func assertRole(t *testing.T, want outcome, h hop, trace jaeger.Trace, p passage, e *ingestion.Envelope) {
	t.Helper()
	assert.Equal(t, h.role, e.Tags["ai.cloud.role"], e.Text("name"))
	instance := text(trace.Processes[p.server.ProcessID].Tags, "ai.cloud.roleInstance")
	assert.Equal(t, want.nameless, instance == "", "role instance %q", instance)
	assert.Equal(t, instance, e.Tags["ai.cloud.roleInstance"])
}

// operation waits until as many requests, calls and exceptions of an operation
// have been accepted as there should be.
func (r *rig) operation(t *testing.T, id string, want outcome) []*ingestion.Envelope {
	t.Helper()
	exceptions := 0
	if want.failure != none {
		exceptions = 1
	}
	var items []*ingestion.Envelope
	harness.Await(t, "the order in Application Insights", func() error {
		if rejected := r.ingestion.Rejected(); len(rejected) > 0 {
			return harness.GiveUp(fmt.Errorf("refused: %s %s", rejected[0].Message, rejected[0].Raw))
		}
		items = nil
		kinds := map[string]int{}
		for _, e := range r.ingestion.Accepted() {
			if e.Tags["ai.operation.id"] == id {
				items = append(items, e)
				kinds[e.Data.BaseType+" "+e.Text("type")]++
			}
		}
		if kinds["RequestData "] != len(want.hops) || kinds["RemoteDependencyData Http"] != len(want.hops)-1 ||
			kinds["ExceptionData "] != exceptions {
			return fmt.Errorf("items by type are %v", kinds)
		}
		return nil
	})
	return items
}

// Severities of Application Insights.
const (
	warning = "2"
	failure = "3"
)

// checkLog waits until a log record of an order has come from a role, and
// compares.
func (r *rig) checkLog(t *testing.T, o order, h hop, message, severity string) {
	t.Helper()
	var record *ingestion.Envelope
	harness.Await(t, fmt.Sprintf("log record %q of %s", message, h.role), func() error {
		var roles []string
		for _, e := range r.ingestion.Accepted() {
			if e.Data.BaseType != "MessageData" || e.Text("message") != message || e.Tags["ai.operation.id"] != o.trace {
				continue
			}
			if roles = append(roles, e.Tags["ai.cloud.role"]); roles[len(roles)-1] == h.role {
				record = e
				return nil
			}
		}
		return fmt.Errorf("it has come from %q", roles)
	})
	assert.Equal(t, severity, record.Text("severityLevel"))
	trace, err := r.jaeger.Trace(o.trace)
	require.NoError(t, err)
	span := trace.Span(t, record.Tags["ai.operation.parentId"])
	assert.Equal(t, h.service, trace.Processes[span.ProcessID].ServiceName)
}

// checkCounter waits until the shop.orders of the service at hop h has come so
// often that a value counted twice would show, and compares its sum.
func (r *rig) checkCounter(t *testing.T, o order, h hop, orders int) {
	t.Helper()
	r.awaitCounter(t, o, h, orders, 3)
}

// awaitCounter waits until there are so many points of shop.orders, and
// compares their sum.
func (r *rig) awaitCounter(t *testing.T, o order, h hop, orders, atLeast int) {
	t.Helper()
	trace, err := r.jaeger.Trace(o.trace)
	require.NoError(t, err)
	instance := ""
	for _, process := range trace.Processes {
		if process.ServiceName == h.service {
			instance = text(process.Tags, "ai.cloud.roleInstance")
		}
	}
	require.NotEmpty(t, instance)
	harness.Await(t, "shop.orders of "+o.item, func() error {
		points, sum := 0, 0.0
		for _, e := range r.ingestion.Accepted() {
			if e.Data.BaseType != "MetricData" || e.Tags["ai.cloud.roleInstance"] != instance || e.Properties()["item"] != o.item {
				continue
			}
			point := e.Data.BaseData["metrics"].([]any)[0].(map[string]any)
			if point["name"] != "shop.orders" {
				continue
			}
			if e.Tags["ai.cloud.role"] != h.role {
				return harness.GiveUp(fmt.Errorf("it has come from %q", e.Tags["ai.cloud.role"]))
			}
			value, err := strconv.ParseFloat(fmt.Sprint(point["value"]), 64)
			if err != nil {
				return harness.GiveUp(err)
			}
			points++
			sum += value
		}
		if points < atLeast || sum != float64(orders) {
			return fmt.Errorf("%d points add up to %v, want %d", points, sum, orders)
		}
		return nil
	})
}

// roles returns the roles of all that was accepted.
func (r *rig) roles() map[string]bool {
	roles := map[string]bool{}
	for _, e := range r.ingestion.Accepted() {
		roles[e.Tags["ai.cloud.role"]] = true
	}
	return roles
}
