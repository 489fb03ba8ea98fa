// SPDX-License-Identifier: Apache-2.0

//go:build sdks

// Package sdks runs the example apps under the real OpenTelemetry SDKs of
// Python, Node.js and Java, and old Jaeger clients, against the built binary
// with the files of configs/ as they are, and compares what arrived in a real
// Jaeger and at test/ingestion with what the apps did.
//
//	make e2e-sdks
//	OTELCOL_BIN=/path/to/otelcol-custom go test -tags sdks ./test/sdks/...
//
// It needs python3 with venv, node with npm, and a JDK with mvn; a test whose
// tool is missing fails and names it. What the examples pin is installed at the
// first use, each into a folder of the user's cache that is named by a hash of
// its lock file.
package sdks

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/jaeger"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// rig is a collector that sends to everything at once.
type rig struct {
	collector *collector.Collector
	jaeger    *jaeger.Server
	ingestion *ingestion.Server
}

// setup says how the collector of a rig runs.
type setup struct {
	mode, backend string // files of configs/
	overlay       string // what a user adds
	env           map[string]string
}

// newRig starts a gateway in front of Jaeger, Application Insights and the
// other backends of backend/all.yaml. Roles is the YAML that a user adds for
// the names of the apps; it may be empty.
func newRig(t *testing.T, roles string) *rig {
	t.Helper()
	return setup{mode: "gateway", backend: "all", overlay: roles}.start(t)
}

// away has the gateway ask an API server that is not there, since there is no
// cluster here.
const away = `
processors::k8s_attributes::auth_type: kubeConfig
processors::k8senrich/pod::pod_association::auth_type: kubeConfig
processors::k8senrich::container_resources::auth_type: kubeConfig
`

func (s setup) start(t *testing.T) *rig {
	t.Helper()
	if s.mode == "gateway" {
		s.overlay += away
	}
	r := &rig{jaeger: jaeger.Start(t, jaeger.V1), ingestion: ingestion.Start(t)}
	observe := otlpserver.Start(t, otlpserver.Config{Username: "root@example.com", Password: "secret"})
	r.collector = collector.Start(t, collector.Config{
		Files:   []string{s.mode + ".yaml", filepath.Join("backend", s.backend+".yaml")},
		Overlay: s.overlay,
		Env: map[string]string{
			"POD_IP":                                "127.0.0.1",
			"KUBECONFIG":                            kubeconfig(t, harness.FreeAddress(t)),
			"OTELCOL_QUEUE_DIRECTORY":               filepath.Join(t.TempDir(), "queue"),
			"JAEGER_ENDPOINT":                       r.jaeger.OTLPGRPC,
			"APPLICATIONINSIGHTS_CONNECTION_STRING": r.ingestion.ConnectionString(),
			"OPENOBSERVE_ENDPOINT":                  observe.URL(),
			"OPENOBSERVE_USERNAME":                  "root@example.com",
			"OPENOBSERVE_PASSWORD":                  "secret",
		},
	}.With(s.env))
	return r
}

// kubeconfig writes the file that leads to an API server, one that is away.
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

// grpc and http are the variables that lead an SDK to the collector.
func (r *rig) grpc(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + r.collector.GRPC(t),
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
	}
}

func (r *rig) http(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + r.collector.HTTP(t),
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
	}
}

// prompt has an SDK send at once what it would hold back for seconds.
var prompt = map[string]string{
	"OTEL_BSP_SCHEDULE_DELAY":     "100",
	"OTEL_BLRP_SCHEDULE_DELAY":    "100",
	"OTEL_METRIC_EXPORT_INTERVAL": "500",
}

// env merges environments; a later one wins.
func env(sets ...map[string]string) map[string]string {
	merged := maps.Clone(prompt)
	for _, set := range sets {
		maps.Copy(merged, set)
	}
	return merged
}

// named says who an app is. A name of "" is one that the user has not set.
func named(service string, attributes ...string) map[string]string {
	vars := map[string]string{}
	if service != "" {
		vars["OTEL_SERVICE_NAME"] = service
	}
	if len(attributes) > 0 {
		vars["OTEL_RESOURCE_ATTRIBUTES"] = attributes[0]
	}
	return vars
}
