// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
)

// backendFiles are the names in configs/backend, without ".yaml".
func backendFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(collector.Configs(t), "backend", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".yaml"))
	}
	return names
}

// examples has a value for each variable that a configuration file documents.
var examples = map[string]string{
	"NODE_NAME":                             "node-1",
	"POD_IP":                                "127.0.0.1",
	"POD_NAME":                              "shop-5d9f8c7b6-abcde",
	"POD_UID":                               "6f0c6d5e-7a8b-4c9d-8e0f-1a2b3c4d5e6f",
	"POD_NAMESPACE":                         "shop",
	"APP_VERSION":                           "1.2.3",
	"CPU_LIMIT":                             "500",
	"MEMORY_LIMIT":                          "268435456",
	"JAEGER_ENDPOINT":                       "localhost:4317",
	"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=11111111-2222-4333-8444-555555555555;IngestionEndpoint=https://example.com/",
	"OPENOBSERVE_ENDPOINT":                  "http://localhost:5080/api/default",
	"OPENOBSERVE_USERNAME":                  openObserveUser,
	"OPENOBSERVE_PASSWORD":                  openObservePassword,
	"OTEL_EXPORTER_OTLP_ENDPOINT":           "https://otlp.example.com:4317",
	"OTLP_HEADERS":                          "{api-key: SECRET}",
}

var documentedVariable = regexp.MustCompile(`(?m)^#   ([A-Z][A-Z0-9_]+) (?:[^\n]|\n#    )*?\((required|default: [^)]*)\)`)

// documented returns the variables that the head of a file documents, and
// whether each is required.
func documented(t *testing.T, file string) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(collector.Configs(t), file))
	require.NoError(t, err)
	required := map[string]bool{}
	for _, m := range documentedVariable.FindAllStringSubmatch(string(raw), -1) {
		required[m[1]] = m[2] == "required"
	}
	for _, m := range regexp.MustCompile(`\$\{env:(\w+)`).FindAllStringSubmatch(string(raw), -1) {
		assert.Contains(t, required, m[1], "%s reads a variable that its head does not document", file)
	}
	return required
}

// Every mode × backend pair is valid with the variables that its two files
// document, all of them and the required ones alone. With one of those missing
// neither validating nor running goes well, and the error names it.
func TestVariables(t *testing.T) {
	for _, m := range modes {
		for _, backend := range backendFiles(t) {
			t.Run(string(m)+" "+backend, func(t *testing.T) {
				t.Parallel()
				files := []string{string(m) + ".yaml", filepath.Join("backend", backend+".yaml")}
				all, required := map[string]string{}, map[string]string{}
				// Where the queues are by default is not for a test to write to.
				all["OTELCOL_QUEUE_DIRECTORY"] = filepath.Join(t.TempDir(), "queue")
				for _, file := range files {
					for name, isRequired := range documented(t, file) {
						if name == "OTELCOL_QUEUE_DIRECTORY" {
							continue
						}
						value, ok := examples[name]
						require.True(t, ok, "no example of %s, which %s documents", name, file)
						all[name] = value
						if isRequired {
							required[name] = value
						}
					}
				}
				for name, env := range map[string]map[string]string{"all": all, "required": required} {
					p := collector.Run(t, "validate", collector.Config{Files: files, Env: env})
					assert.Zero(t, p.ExitCode(), "with %s variables: %s", name, p.Stderr.String())
				}
				for missing := range required {
					for _, command := range []string{"validate", ""} {
						env := collector.Config{Files: files}.With(all)
						delete(env.Env, missing)
						p := collector.Run(t, command, env)
						assert.NotZero(t, p.ExitCode(), "%q without %s", command, missing)
						assert.Contains(t, p.Stderr.String(), missing)
						for name, value := range all {
							if strings.Contains(name, "PASSWORD") || strings.Contains(name, "HEADERS") {
								assert.NotContains(t, p.Stderr.String(), value)
							}
						}
					}
				}
			})
		}
	}
}

// console.yaml needs no variable at all.
func TestConsoleNeedsNothing(t *testing.T) {
	assert.Empty(t, documented(t, "console.yaml"))
	p := collector.Run(t, "validate", collector.Config{Files: []string{"console.yaml"}})
	assert.Zero(t, p.ExitCode(), p.Stderr.String())
}

// On a laptop and in a sidecar everything listens on localhost. In a pod, what is
// for apps listens on the pod's address and what is for its operator on localhost.
// Nothing else listens.
func TestListeners(t *testing.T) {
	const podIP = "127.0.0.2"
	for _, name := range []string{"console", "sidecar", "agent", "gateway"} {
		t.Run(name, func(t *testing.T) {
			config := mode(name).config(t, "console", map[string]string{"POD_IP": podIP})
			if name == "console" {
				config = collector.Config{Files: []string{"console.yaml"}}
			}
			c := collector.Start(t, config)
			want := map[string]string{
				"extensions::health_check":         "127.0.0.1",
				"extensions::pprof":                "127.0.0.1",
				"extensions::zpages":               "127.0.0.1",
				"receivers::otlp::protocols::grpc": "127.0.0.1",
				"receivers::otlp::protocols::http": "127.0.0.1",
			}
			if name != "sidecar" {
				for _, key := range []string{
					"jaeger::protocols::grpc", "jaeger::protocols::thrift_http",
					"jaeger::protocols::thrift_compact", "jaeger::protocols::thrift_binary", "zipkin",
				} {
					want["receivers::"+key] = "127.0.0.1"
				}
			}
			if name == "agent" || name == "gateway" {
				for key := range want {
					if strings.HasPrefix(key, "receivers::") {
						want[key] = podIP
					}
				}
			}
			var addresses []string
			for key, host := range want {
				_, port, ok := strings.Cut(c.Endpoint(t, key), ":")
				require.True(t, ok)
				addresses = append(addresses, host+":"+port)
			}
			addresses = append(addresses, c.MetricsAddress)
			assert.ElementsMatch(t, addresses, c.Listening(t))
			assert.Len(t, c.Endpoints, len(want))
		})
	}
}

// A mistake in a configuration ends the collector with one message that says
// where it is.
func TestMistakes(t *testing.T) {
	taken := harness.FreeAddress(t)
	listen(t, taken)
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	require.NoError(t, os.WriteFile(broken, []byte("receivers:\n  otlp: [\n"), 0o600))
	for name, c := range map[string]struct {
		file, overlay string
		commands      []string
		says          []string
	}{
		"unknown key": {
			overlay:  "exporters::debug::verbosty: detailed",
			commands: []string{"validate", ""},
			says:     []string{"exporters", "debug", "verbosty"},
		},
		"unknown key of our own processor": {
			overlay:  "processors::cloudrole::rolee: x",
			commands: []string{"validate", ""},
			says:     []string{"processors", "cloudrole", "rolee"},
		},
		"unknown component": {
			overlay:  "exporters::debugg::verbosity: detailed",
			commands: []string{"validate", ""},
			says:     []string{"exporters", "debugg"},
		},
		"wrong type": {
			overlay:  "receivers::otlp::protocols::grpc::max_recv_msg_size_mib: many",
			commands: []string{"validate", ""},
			says:     []string{"receivers", "otlp", "protocols.grpc", "max_recv_msg_size_mib", "'int'"},
		},
		"pipeline of a component that is not there": {
			overlay:  "service::pipelines::traces::exporters: [nowhere]",
			commands: []string{"validate", ""},
			says:     []string{"service::pipelines::traces", "nowhere"},
		},
		"missing file": {
			file:     missing,
			commands: []string{"validate", ""},
			says:     []string{missing, "no such file"},
		},
		"not YAML": {
			file:     broken,
			commands: []string{"validate", ""},
			says:     []string{"yaml: line 2"},
		},
		"port in use": {
			overlay:  "receivers::otlp::protocols::http::endpoint: " + taken,
			commands: []string{""},
			says:     []string{taken, "address already in use", "otlp"},
		},
	} {
		for _, command := range c.commands {
			t.Run(name+" "+command, func(t *testing.T) {
				config := collector.Config{Files: []string{"console.yaml"}}
				if c.file != "" {
					config.Files = []string{c.file}
				}
				// One receiver, on ports that are free but for the one that is not.
				overlay := "receivers::otlp::protocols::grpc::endpoint: " + harness.FreeAddress(t) + `
service::extensions: [refusals]
service::pipelines::traces::receivers: [otlp]
service::pipelines::metrics::receivers: [otlp]
service::pipelines::logs::receivers: [otlp]
service::telemetry::metrics::level: none
`
				config.Overlay = overlay + c.overlay
				p := collector.Run(t, command, config)
				assert.Positive(t, p.ExitCode())
				_, message, found := strings.Cut("\n"+p.Stderr.String(), "\nError: ")
				require.True(t, found, "no error at all: %s", p.Stderr.String())
				assert.NotContains(t, message, "\nError: ", "a second error")
				assert.NotContains(t, message, "Usage:")
				for _, text := range c.says {
					assert.Contains(t, message, text)
				}
			})
		}
	}
}
