// SPDX-License-Identifier: Apache-2.0

// Package jaeger runs a real Jaeger all-in-one, with its storage in memory,
// and reads traces back over the API that Jaeger's own UI uses.
package jaeger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"testing"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// V1 is the last all-in-one of Jaeger's first generation.
var V1 = harness.Server{
	Name:    "jaeger",
	Folder:  "test/servers/jaeger",
	Module:  "github.com/jaegertracing/jaeger",
	Package: "github.com/jaegertracing/jaeger/cmd/all-in-one",
}

// V142 is an all-in-one of a time when Jaeger was fed by its own protocol: it
// takes OTLP too, when it is told to.
var V142 = harness.Server{
	Name:    "jaeger",
	Folder:  "test/servers/jaeger-v1.42",
	Module:  "github.com/jaegertracing/jaeger",
	Package: "github.com/jaegertracing/jaeger/cmd/all-in-one",
}

// Server is a Jaeger that may be up or down. Its addresses stay the same.
type Server struct {
	OTLPGRPC string // host:port of OTLP over gRPC
	OTLPHTTP string // host:port of OTLP over HTTP
	GRPC     string // host:port of Jaeger's own gRPC protocol
	Query    string // host:port of the API and the UI

	// Flags are added to Jaeger's command line by Start.
	Flags []string

	binary  string
	admin   string
	process *harness.Process
}

// New makes a Jaeger that is down.
func New(tb testing.TB, version harness.Server) *Server {
	tb.Helper()
	return &Server{
		OTLPGRPC: harness.FreeAddress(tb),
		OTLPHTTP: harness.FreeAddress(tb),
		GRPC:     harness.FreeAddress(tb),
		Query:    harness.FreeAddress(tb),
		admin:    harness.FreeAddress(tb),
		binary:   harness.Build(tb, version),
	}
}

// Start makes a Jaeger and starts it.
func Start(tb testing.TB, version harness.Server) *Server {
	tb.Helper()
	s := New(tb, version)
	s.Start(tb)
	return s
}

// Start runs Jaeger until the test ends and returns when it is healthy.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	unused := func() string { return harness.FreeAddress(tb) }
	s.process = harness.Start(tb, harness.Spec{
		Path: s.binary,
		Args: append([]string{
			"--collector.otlp.enabled=true",
			"--collector.otlp.grpc.host-port=" + s.OTLPGRPC,
			"--collector.otlp.http.host-port=" + s.OTLPHTTP,
			"--collector.grpc-server.host-port=" + s.GRPC,
			"--query.http-server.host-port=" + s.Query,
			"--admin.http.host-port=" + s.admin,
			"--collector.http-server.host-port=" + unused(),
			"--query.grpc-server.host-port=" + unused(),
			"--http-server.host-port=" + unused(),
			"--processor.jaeger-binary.server-host-port=" + unused(),
			"--processor.jaeger-compact.server-host-port=" + unused(),
			"--processor.zipkin-compact.server-host-port=" + unused(),
			"--reporter.grpc.host-port=" + s.GRPC,
			"--log-level=warn",
		}, s.Flags...),
		Env: map[string]string{
			"SPAN_STORAGE_TYPE":   "memory",
			"OTEL_TRACES_SAMPLER": "always_off", // no spans of its own
		},
	})
	s.process.AwaitReady(tb, func() error {
		var healthy struct{ Status string }
		return get("http://"+s.admin+"/", &healthy)
	})
}

// Kill ends Jaeger; what it has stored is gone with it.
func (s *Server) Kill() { s.process.Kill() }

// Trace is a trace as the API returns it.
type Trace struct {
	TraceID   string
	Spans     []Span
	Processes map[string]Process
}

// Span returns the span of this id.
func (t Trace) Span(tb testing.TB, id string) Span {
	tb.Helper()
	for _, span := range t.Spans {
		if span.SpanID == id {
			return span
		}
	}
	tb.Fatalf("no span %s in trace %s", id, t.TraceID)
	return Span{}
}

// Span is one span of a trace. Times are in microseconds.
type Span struct {
	TraceID       string
	SpanID        string
	OperationName string
	References    []Reference
	StartTime     int64
	Duration      int64
	Tags          Tags
	Logs          []Log
	ProcessID     string
	Warnings      []string
}

// Reference is a parent or a link.
type Reference struct {
	RefType string
	TraceID string
	SpanID  string
}

// Log is an event.
type Log struct {
	Timestamp int64
	Fields    Tags
}

// Process is a resource.
type Process struct {
	ServiceName string
	Tags        Tags
}

// Tag is a key with a value and its type: string, bool, int64, float64, binary.
type Tag struct {
	Key   string
	Type  string
	Value any
}

// Tags are in no order.
type Tags []Tag

// Trace returns the trace of this id. There is an error when it is not (yet)
// there.
func (s *Server) Trace(id string) (Trace, error) {
	var traces []Trace
	if err := s.query("/api/traces/"+id, &traces); err != nil {
		return Trace{}, err
	}
	if len(traces) != 1 {
		return Trace{}, fmt.Errorf("%d traces have id %s", len(traces), id)
	}
	return traces[0], nil
}

// AwaitTrace waits until the trace has this many spans.
func (s *Server) AwaitTrace(tb testing.TB, id string, spans int) Trace {
	tb.Helper()
	var trace Trace
	harness.Await(tb, "trace in Jaeger", func() error {
		var err error
		if trace, err = s.Trace(id); err != nil {
			return err
		}
		if len(trace.Spans) != spans {
			return fmt.Errorf("%d of %d spans are there", len(trace.Spans), spans)
		}
		return nil
	})
	return trace
}

// RawTrace returns the trace of this id with all that the API says of it, numbers
// as json.Number.
func (s *Server) RawTrace(id string) (map[string]any, error) {
	var traces []map[string]any
	if err := s.query("/api/traces/"+id, &traces); err != nil {
		return nil, err
	}
	if len(traces) != 1 {
		return nil, fmt.Errorf("%d traces have id %s", len(traces), id)
	}
	return traces[0], nil
}

// Services returns the names of all services that have sent spans.
func (s *Server) Services() ([]string, error) {
	var services []string
	err := s.query("/api/services", &services)
	return services, err
}

// SpanIDs returns how often each span of a service is stored.
func (s *Server) SpanIDs(service string, limit int) (map[string]int, error) {
	var traces []Trace
	query := url.Values{"service": {service}, "limit": {strconv.Itoa(limit)}}
	if err := s.query("/api/traces?"+query.Encode(), &traces); err != nil {
		return nil, err
	}
	ids := map[string]int{}
	for _, trace := range traces {
		for _, span := range trace.Spans {
			ids[span.SpanID]++
		}
	}
	return ids, nil
}

func (s *Server) query(path string, data any) error {
	answer := struct {
		Data   any
		Errors []struct{ Msg string }
	}{Data: data}
	if err := get("http://"+s.Query+path, &answer); err != nil {
		return err
	}
	if len(answer.Errors) > 0 {
		return errors.New(answer.Errors[0].Msg)
	}
	return nil
}

func get(address string, into any) error {
	body, err := harness.Get(address)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // 64-bit values stay what they are
	return decoder.Decode(into)
}
