// SPDX-License-Identifier: Apache-2.0

// Package otlpserver is a backend that takes OTLP over gRPC and HTTP. It is the
// collector's own OTLP receiver with its own Basic authentication, in the test's
// process, in front of a memory that tests look into.
package otlpserver

import (
	"context"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// Server is a backend that may be up or down. Its addresses, and what it has
// received, stay the same.
type Server struct {
	GRPC, HTTP string // host:port

	Traces  consumertest.TracesSink
	Metrics consumertest.MetricsSink
	Logs    consumertest.LogsSink

	config  Config
	running []component.Component
}

// Config is what the server asks of its clients.
type Config struct {
	// Prefix stands before /v1/traces and the other paths of HTTP.
	Prefix string
	// Username and Password, unless empty, are asked for by HTTP and gRPC.
	Username, Password string
}

// New makes a server that is down.
func New(tb testing.TB, config Config) *Server {
	tb.Helper()
	return &Server{GRPC: harness.FreeAddress(tb), HTTP: harness.FreeAddress(tb), config: config}
}

// Start makes a server and starts it.
func Start(tb testing.TB, config Config) *Server {
	tb.Helper()
	s := New(tb, config)
	s.Start(tb)
	return s
}

// Start runs the server until the test ends or Stop.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	grpc := map[string]any{"endpoint": s.GRPC}
	http := map[string]any{
		"endpoint":         s.HTTP,
		"traces_url_path":  s.config.Prefix + "/v1/traces",
		"metrics_url_path": s.config.Prefix + "/v1/metrics",
		"logs_url_path":    s.config.Prefix + "/v1/logs",
	}
	host := extensions{}
	if s.config.Username != "" {
		factory := basicauthextension.NewFactory()
		id := component.NewID(factory.Type())
		config := factory.CreateDefaultConfig()
		load(tb, config, map[string]any{
			"htpasswd": map[string]any{"inline": s.config.Username + ":" + s.config.Password},
		})
		auth, err := factory.Create(tb.Context(), extensiontest.NewNopSettings(factory.Type()), config)
		fatal(tb, err)
		s.run(tb, host, auth)
		host[id] = auth
		grpc["auth"] = map[string]any{"authenticator": id.String()}
		http["auth"] = grpc["auth"]
	}

	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	load(tb, config, map[string]any{"protocols": map[string]any{"grpc": grpc, "http": http}})
	settings := receivertest.NewNopSettings(factory.Type())
	// One receiver serves all three; it must know them before it starts.
	traces, err := factory.CreateTraces(tb.Context(), settings, config, &s.Traces)
	fatal(tb, err)
	metrics, err := factory.CreateMetrics(tb.Context(), settings, config, &s.Metrics)
	fatal(tb, err)
	logs, err := factory.CreateLogs(tb.Context(), settings, config, &s.Logs)
	fatal(tb, err)
	for _, c := range []component.Component{traces, metrics, logs} {
		s.run(tb, host, c)
	}
	tb.Cleanup(func() { s.Stop(tb) })
}

func (s *Server) run(tb testing.TB, host component.Host, c component.Component) {
	tb.Helper()
	fatal(tb, c.Start(tb.Context(), host))
	s.running = append(s.running, c)
}

func fatal(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Stop closes the ports. What was received stays.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	for _, c := range s.running {
		if err := c.Shutdown(context.Background()); err != nil {
			tb.Error(err)
		}
	}
	s.running = nil
}

// URL is what an OTLP/HTTP exporter is given.
func (s *Server) URL() string { return "http://" + s.HTTP + s.config.Prefix }

// SpanIDs returns how often each span has come.
func (s *Server) SpanIDs() map[string]int {
	ids := map[string]int{}
	for _, td := range s.Traces.AllTraces() {
		for span := range Spans(td) {
			ids[span.SpanID().String()]++
		}
	}
	return ids
}

// Spans yields the spans of td, each with its resource.
func Spans(td ptrace.Traces) func(yield func(ptrace.Span, ptrace.ResourceSpans) bool) {
	return func(yield func(ptrace.Span, ptrace.ResourceSpans) bool) {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					if !yield(span, rs) {
						return
					}
				}
			}
		}
	}
}

func load(tb testing.TB, into any, values map[string]any) {
	tb.Helper()
	fatal(tb, confmap.NewFromStringMap(values).Unmarshal(into))
}

// extensions is a host that has these and nothing else.
type extensions map[component.ID]component.Component

// GetExtensions implements component.Host.
func (e extensions) GetExtensions() map[component.ID]component.Component { return e }

var _ component.Host = extensions{}
