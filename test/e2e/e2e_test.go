// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e drives the built binary as a process, with the files of configs/
// as they are, against real clients and real backends. Application Insights
// has none that could be run; test/ingestion stands in for it.
//
//	make e2e
//	OTELCOL_BIN=/path/to/otelcol-custom go test -tags e2e ./test/e2e/...
package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/jaeger"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

const (
	openObserveUser     = "root@example.com"
	openObservePassword = "Complex-Pass:123"
	openObservePrefix   = "/api/default"
)

// backends are the servers that the files of configs/backend send to. Each may
// be down.
type backends struct {
	jaeger      *jaeger.Server
	ingestion   *ingestion.Server
	openobserve *otlpserver.Server
	otlp        *otlpserver.Server
}

func newBackends(t *testing.T) *backends {
	t.Helper()
	return &backends{
		jaeger:    jaeger.New(t, jaeger.V1),
		ingestion: ingestion.New(harness.FreeAddress(t), false),
		openobserve: otlpserver.New(t, otlpserver.Config{
			Prefix: openObservePrefix, Username: openObserveUser, Password: openObservePassword,
		}),
		otlp: otlpserver.New(t, otlpserver.Config{}),
	}
}

func startBackends(t *testing.T) *backends {
	t.Helper()
	b := newBackends(t)
	b.jaeger.Start(t)
	b.ingestion.Start(t)
	b.openobserve.Start(t)
	b.otlp.Start(t)
	return b
}

// env is the environment that the backend files document.
func (b *backends) env() map[string]string {
	return map[string]string{
		"JAEGER_ENDPOINT":                       b.jaeger.OTLPGRPC,
		"APPLICATIONINSIGHTS_CONNECTION_STRING": b.ingestion.ConnectionString(),
		"OPENOBSERVE_ENDPOINT":                  b.openobserve.URL(),
		"OPENOBSERVE_USERNAME":                  openObserveUser,
		"OPENOBSERVE_PASSWORD":                  openObservePassword,
		"OTEL_EXPORTER_OTLP_ENDPOINT":           "http://" + b.otlp.GRPC,
	}
}

// envOf is the environment of one backend file: two have Jaeger's endpoint, and
// mean another port.
func (b *backends) envOf(backend string) map[string]string {
	env := b.env()
	if backend == "jaeger-legacy" {
		env["JAEGER_ENDPOINT"] = b.jaeger.GRPC
	}
	return env
}

// The traces of a visit, as each backend sees them.

func atConsole(c *collector.Collector, s *telemetry.Shop) error {
	return sameIDs(s, func(yield func(string)) {
		for _, block := range printedBlocks(c.Stdout.String(), "ResourceSpans", s.Instance) {
			for _, span := range strings.Split(block, "\nSpan #")[1:] {
				yield(field(span, "ID"))
			}
		}
	})
}

func atJaeger(b *backends, s *telemetry.Shop) error {
	trace, err := b.jaeger.Trace(s.TraceID.String())
	if err != nil {
		return err
	}
	return sameIDs(s, func(yield func(string)) {
		for _, span := range trace.Spans {
			yield(span.SpanID)
		}
	})
}

func atIngestion(b *backends, s *telemetry.Shop) error {
	return sameIDs(s, func(yield func(string)) {
		for _, e := range b.ingestion.Accepted() {
			if e.Tags["ai.operation.id"] == s.TraceID.String() && e.Text("id") != "" {
				yield(e.Text("id"))
			}
		}
	})
}

func atOTLP(server *otlpserver.Server, s *telemetry.Shop) error {
	return sameIDs(s, func(yield func(string)) {
		for _, td := range server.Traces.AllTraces() {
			for span := range otlpserver.Spans(td) {
				if span.TraceID() == s.TraceID {
					yield(span.SpanID().String())
				}
			}
		}
	})
}

// sameIDs compares what has come with what was sent: each span, once.
func sameIDs(s *telemetry.Shop, each func(yield func(string))) error {
	want := map[string]int{}
	for span := range otlpserver.Spans(s.Traces) {
		want[span.SpanID().String()]++
	}
	got := map[string]int{}
	each(func(id string) { got[id]++ })
	if !maps.Equal(want, got) {
		return fmt.Errorf("spans and how often each has come: %v, want %v", got, want)
	}
	return nil
}

// mode is a file of configs/ that a backend file can follow.
type mode string

var modes = []mode{"sidecar", "agent", "gateway"}

// config starts a mode in front of a backend ("jaeger"), where there is no
// cluster: agent and gateway are given an API server that is away.
func (m mode) config(t *testing.T, backend string, env map[string]string) collector.Config {
	t.Helper()
	c := collector.Config{
		Files: []string{string(m) + ".yaml", filepath.Join("backend", backend+".yaml")},
		Env:   map[string]string{"OTELCOL_QUEUE_DIRECTORY": filepath.Join(t.TempDir(), "queue")},
	}
	if m != "sidecar" {
		c.Overlay = "processors::k8senrich/pod::pod_association::auth_type: kubeConfig\nprocessors::k8s_attributes::auth_type: kubeConfig\n" +
			"processors::k8senrich::container_resources::auth_type: kubeConfig"
		c.Env["POD_IP"] = "127.0.0.1"
		c.Env["KUBECONFIG"] = kubeconfig(t, harness.FreeAddress(t))
	}
	if m == "agent" {
		c.Env["NODE_NAME"] = "node-1"
	}
	return c.With(env)
}

// kubeconfig writes the file that leads to an API server.
func kubeconfig(t *testing.T, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://`+address+`"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
current-context: c
`), 0o600))
	return path
}

// send sends a visit in the way that most SDKs use.
func send(t *testing.T, c *collector.Collector, s *telemetry.Shop) {
	t.Helper()
	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC, Gzip: true}, c)
	require.NoError(t, client.All(t.Context(), s))
}

// listen takes an address until the test ends.
func listen(t *testing.T, address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
}
