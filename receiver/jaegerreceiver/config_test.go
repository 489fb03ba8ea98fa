// SPDX-License-Identifier: Apache-2.0

package jaegerreceiver

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	upstream "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/jaegerreceiver"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func load(tb testing.TB, conf *confmap.Conf) *Config {
	tb.Helper()
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	require.NoError(tb, conf.Unmarshal(cfg))
	require.NoError(tb, confmap.Validate(cfg))
	return cfg
}

func TestConfig(t *testing.T) {
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	require.Len(t, conf.ToStringMap(), 2)

	sub, err := conf.Sub("jaeger")
	require.NoError(t, err)
	all := load(t, sub).Upstream.Protocols
	assert.Equal(t, "localhost:14250", all.GRPC.Get().NetAddr.Endpoint)
	assert.Equal(t, "localhost:14268", all.ThriftHTTP.Get().NetAddr.Endpoint)
	assert.Equal(t, upstream.ProtocolUDP{
		Endpoint:        "localhost:6831",
		ServerConfigUDP: upstream.ServerConfigUDP{QueueSize: 1000, MaxPacketSize: 65_000, Workers: 10},
	}, *all.ThriftCompactUDP.Get())
	assert.Equal(t, upstream.ProtocolUDP{
		Endpoint:        "localhost:6832",
		ServerConfigUDP: upstream.ServerConfigUDP{QueueSize: 1000, MaxPacketSize: 65_000, Workers: 10},
	}, *all.ThriftBinaryUDP.Get())

	sub, err = conf.Sub("jaeger/one")
	require.NoError(t, err)
	one := load(t, sub).Upstream.Protocols
	assert.False(t, one.GRPC.HasValue() || one.ThriftHTTP.HasValue() || one.ThriftBinaryUDP.HasValue())
	assert.Equal(t, upstream.ProtocolUDP{
		Endpoint:        "10.0.0.1:6831",
		ServerConfigUDP: upstream.ServerConfigUDP{QueueSize: 2, MaxPacketSize: 1472, Workers: 3, SocketBufferSize: 1 << 20},
	}, *one.ThriftCompactUDP.Get())
}

func TestBadConfig(t *testing.T) {
	wants := map[string][]string{
		"limits": {
			"protocols::thrift_compact::queue_size: 0 is not between 1 and 1048576",
			"protocols::thrift_compact::workers: -1 is not between 1 and 1024",
			"protocols::thrift_binary::max_packet_size: 100000 is not between 1 and 65507",
			"protocols::thrift_binary::socket_buffer_size: -1 is not between 0 and 1073741824",
		},
		"none":        {"must specify at least one protocol"},
		"port":        {"invalid port number for the Thrift UDP Compact endpoint", "missing port in address"},
		"unknown_key": {"thrift_udp"},
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
			if err = conf.Unmarshal(cfg); err == nil {
				err = confmap.Validate(cfg)
			}
			for _, text := range want {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}
