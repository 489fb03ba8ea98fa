// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/exporter/exporterhelper"

	"github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadata"
)

// defaultConfig is written out here a second time, with what the removed exporter
// had: a changed default is a changed contract.
func defaultConfig(endpoint string) *Config {
	return &Config{
		TimeoutConfig: exporterhelper.TimeoutConfig{Timeout: 5 * time.Second},
		QueueConfig: configoptional.Some(exporterhelper.QueueBatchConfig{
			Sizer:        exporterhelper.RequestSizerTypeRequests,
			QueueSize:    1000,
			NumConsumers: 10,
			Batch:        exporterhelper.NewDefaultQueueConfig().Batch, // off until the key is there
		}),
		RetryConfig: configretry.BackOffConfig{
			Enabled:             true,
			InitialInterval:     5 * time.Second,
			RandomizationFactor: 0.5,
			Multiplier:          1.5,
			MaxInterval:         30 * time.Second,
			MaxElapsedTime:      5 * time.Minute,
		},
		ClientConfig: configgrpc.ClientConfig{
			Endpoint:        endpoint,
			TLS:             configtls.NewDefaultClientConfig(),
			WriteBufferSize: 512 * 1024,
		},
	}
}

func TestConfig(t *testing.T) {
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)

	old := defaultConfig("dns:///jaeger-collector.tracing:14250")
	old.TimeoutConfig.Timeout = 10 * time.Second
	queue := old.QueueConfig.Get()
	queue.NumConsumers, queue.QueueSize = 2, 10
	storage := component.MustNewIDWithName("file_storage", "jaeger")
	queue.StorageID = &storage
	old.RetryConfig = configretry.BackOffConfig{
		Enabled:             true,
		InitialInterval:     10 * time.Second,
		RandomizationFactor: 0.25,
		Multiplier:          2,
		MaxInterval:         time.Minute,
		MaxElapsedTime:      10 * time.Minute,
	}
	tls := configtls.NewDefaultClientConfig()
	tls.InsecureSkipVerify = true
	tls.ServerName = "jaeger"
	tls.CAFile, tls.CertFile, tls.KeyFile = "ca.pem", "client.pem", "client-key.pem"
	tls.MinVersion, tls.MaxVersion = "1.2", "1.3"
	tls.ReloadInterval = time.Hour
	old.ClientConfig = configgrpc.ClientConfig{
		Endpoint:    "dns:///jaeger-collector.tracing:14250",
		Compression: "gzip",
		TLS:         tls,
		Keepalive: configoptional.Some(configgrpc.KeepaliveClientConfig{
			Time: 10 * time.Minute, Timeout: 20 * time.Second, PermitWithoutStream: true,
		}),
		ReadBufferSize:  1024,
		WriteBufferSize: 2048,
		WaitForReady:    true,
		Headers:         configopaque.MapList{{Name: "x-tenant", Value: "acme"}},
		BalancerName:    "round_robin",
		Authority:       "jaeger.example.com",
		Auth:            configoptional.Some(configauth.Config{AuthenticatorID: component.MustNewIDWithName("basicauth", "jaeger")}),
	}

	off := defaultConfig("localhost:14250")
	off.ClientConfig.TLS.Insecure = true
	off.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
	off.RetryConfig.Enabled = false

	durable := defaultConfig("localhost:14250")
	queue = durable.QueueConfig.Get()
	plain := component.MustNewID("file_storage")
	queue.StorageID = &plain
	queue.Sizer, queue.QueueSize = exporterhelper.RequestSizerTypeBytes, 1<<30
	batch := queue.Batch.GetOrInsertDefault()
	batch.Sizer = exporterhelper.RequestSizerTypeBytes // the queue's
	batch.FlushTimeout, batch.MinSize, batch.MaxSize = time.Second, 1_000_000, 3_000_000
	durable.RetryConfig.MaxElapsedTime = 0

	wants := map[component.ID]*Config{
		component.NewID(metadata.Type):                    defaultConfig("jaeger-collector:14250"),
		component.NewIDWithName(metadata.Type, "v0.85.0"): old,
		component.NewIDWithName(metadata.Type, "off"):     off,
		component.NewIDWithName(metadata.Type, "durable"): durable,
	}
	require.Len(t, wants, len(conf.ToStringMap()), "blocks in config.yaml")
	for id, want := range wants {
		t.Run(id.String(), func(t *testing.T) {
			sub, err := conf.Sub(id.String())
			require.NoError(t, err)
			cfg := NewFactory().CreateDefaultConfig()
			require.NoError(t, sub.Unmarshal(cfg))
			require.NoError(t, confmap.Validate(cfg))
			assert.Equal(t, want, cfg)
		})
	}
}

func TestBadConfig(t *testing.T) {
	const noEndpoint = `endpoint must not be empty; want host:port of Jaeger's gRPC port, for example "jaeger-collector:14250"`
	wants := map[string]string{
		"balancer_unknown":   "clientconfig: invalid balancer_name: roundrobin",
		"endpoint_empty":     noEndpoint,
		"endpoint_missing":   noEndpoint,
		"endpoint_map":       "decoding failed due to the following error(s):\n\n'endpoint' expected type 'string', got unconvertible type 'map[string]interface {}'",
		"endpoint_no_port":   "clientconfig: address jaeger: missing port in address",
		"endpoint_port_name": `clientconfig: invalid port "grpc"`,
		"queue_size_zero":    "sending_queue: `queue_size` must be positive",
		"timeout_negative":   "timeoutconfig: 'timeout' must be non-negative",
		"tls_version": `clientconfig::tls: invalid TLS min_version: unsupported TLS version: "9"` + "\n" +
			`clientconfig::tls::config: invalid TLS min_version: unsupported TLS version: "9"`,
		"unknown_key": "decoding failed due to the following error(s):\n\n'jaegerexporter.Config' has invalid keys: insecure",
	}
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	require.Equal(t, slices.Sorted(maps.Keys(wants)), names, "files in testdata/bad")

	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			conf, err := confmaptest.LoadConf(filepath.Join("testdata", "bad", name+".yaml"))
			require.NoError(t, err)
			cfg := createDefaultConfig()
			err = conf.Unmarshal(cfg)
			if err == nil {
				err = confmap.Validate(cfg)
			}
			require.EqualError(t, err, want)
		})
	}
}

// The README's table gives the defaults that the code has.
func TestReadmeDefaults(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	require.NoError(t, err)
	cfg, conf := defaultConfig(""), confmap.New()
	require.NoError(t, conf.Marshal(cfg))
	sizer, err := cfg.QueueConfig.Get().Sizer.MarshalText()
	require.NoError(t, err)
	require.NoError(t, conf.Merge(confmap.NewFromStringMap(map[string]any{ // what Marshal leaves out
		"tls::insecure":          cfg.ClientConfig.TLS.Insecure,
		"sending_queue::enabled": cfg.QueueConfig.HasValue(),
		"sending_queue::sizer":   string(sizer),
	})))
	documented := 0
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		want, found := strings.CutPrefix(strings.TrimSpace(cells[2]), "`")
		if !found {
			continue // no default
		}
		documented++
		key := strings.ReplaceAll(strings.Trim(cells[1], " `"), ".", confmap.KeyDelimiter)
		assert.Equal(t, strings.TrimSuffix(want, "`"), fmt.Sprint(conf.Get(key)), key)
	}
	assert.Equal(t, 13, documented)
}
