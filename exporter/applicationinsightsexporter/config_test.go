// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/metadata"
)

func TestConfig(t *testing.T) {
	defaults := func() *Config { return NewFactory().CreateDefaultConfig().(*Config) }
	for name, change := range map[string]func(*Config){
		"": func(c *Config) {
			c.ConnectionString = "InstrumentationKey=11111111-2222-4333-8444-555555555555;IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/"
		},
		"all": func(c *Config) {
			c.ConnectionString = "InstrumentationKey=k"
			c.ClientConfig.Endpoint = "https://proxy.example.org/ai"
			c.ClientConfig.Compression = "none"
			c.ClientConfig.Timeout = 5 * time.Second
			c.SpanEvents = SpanEventsAll
			c.Properties = PropertiesConfig{Scope: true}
			c.Server4xx = OutcomeSuccess
			c.DailyCap = CapActionWait
			c.MaxRequestBytes = 65536
			c.MaxRequestItems = 64000
			c.Credential = configoptional.Some(CredentialConfig{
				Kind: CredentialClientSecret, TenantID: "t", ClientID: "c", ClientSecret: "s", AuthorityHost: "https://login.microsoftonline.us",
			})
			c.RetryConfig.MaxElapsedTime = time.Hour
			c.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
		},
		"managed_identity": func(c *Config) {
			c.ConnectionString = "InstrumentationKey=k;"
			c.Credential = configoptional.Some(CredentialConfig{Kind: CredentialManagedIdentity})
		},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
			require.NoError(t, err)
			sub, err := conf.Sub(component.NewIDWithName(metadata.Type, name).String())
			require.NoError(t, err)
			got := defaults()
			require.NoError(t, sub.Unmarshal(got))
			require.NoError(t, confmap.Validate(got))
			want := defaults()
			change(want)
			assert.Equal(t, want, got)
		})
	}
}

func TestBadConfig(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "bad.yaml"))
	require.NoError(t, err)
	var cases []struct {
		Config map[string]any
		Errors []string
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&cases))
	for _, tt := range cases {
		t.Run(tt.Errors[0], func(t *testing.T) {
			cfg := NewFactory().CreateDefaultConfig()
			require.NoError(t, confmap.NewFromStringMap(tt.Config).Unmarshal(cfg))
			err := confmap.Validate(cfg)
			require.Error(t, err)
			assert.Equal(t, strings.Join(tt.Errors, "\n"), err.Error())
			assert.NotContains(t, err.Error(), "secret-part")
			assert.NotContains(t, err.Error(), "hush")
		})
	}
}

// From empty input come the defaults, each of which the README tells.
func TestDefaults(t *testing.T) {
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	require.NoError(t, confmap.New().Unmarshal(cfg))
	assert.Equal(t, NewFactory().CreateDefaultConfig(), cfg)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for key, value := range map[string]string{
		"connection_string":                      "required",
		"endpoint":                               "from the connection string",
		"span_events":                            "`exceptions`",
		"properties::resource":                   "`true`",
		"properties::consumed":                   "`true`",
		"properties::scope":                      "`false`",
		"server_4xx":                             "`failure`",
		"daily_cap":                              "`drop`",
		"max_request_bytes":                      "`1048576`",
		"max_request_items":                      "`1024`",
		"compression":                            "`gzip`",
		"compression_params::level":              "`1`",
		"timeout":                                "`2m`",
		"credential::kind":                       "required",
		"retry_on_failure::enabled":              "`true`",
		"retry_on_failure::initial_interval":     "`5s`",
		"retry_on_failure::max_interval":         "`30s`",
		"retry_on_failure::max_elapsed_time":     "`0`",
		"retry_on_failure::multiplier":           "`1.5`",
		"retry_on_failure::randomization_factor": "`0.5`",
		"sending_queue::enabled":                 "`true`",
		"sending_queue::num_consumers":           "`10`",
		"sending_queue::queue_size":              "`1000`",
		"sending_queue::block_on_overflow":       "`false`",
	} {
		row := "| `" + key + "` | " + value
		assert.Contains(t, string(readme), row)
	}
	assert.Equal(t, 2*time.Minute, cfg.ClientConfig.Timeout)
	assert.Equal(t, 1<<20, cfg.MaxRequestBytes)
	assert.Equal(t, 1024, cfg.MaxRequestItems)
	assert.Equal(t, SpanEventsExceptions, cfg.SpanEvents)
	assert.Equal(t, PropertiesConfig{Resource: true, Consumed: true}, cfg.Properties)
	assert.Equal(t, OutcomeFailure, cfg.Server4xx)
	assert.Equal(t, CapActionDrop, cfg.DailyCap)
	assert.EqualValues(t, "gzip", cfg.ClientConfig.Compression)
	assert.Equal(t, 1, gzipLevel(cfg))
	assert.Zero(t, cfg.RetryConfig.MaxElapsedTime)
	assert.True(t, cfg.RetryConfig.Enabled)
	assert.Equal(t, 5*time.Second, cfg.RetryConfig.InitialInterval)
	assert.Equal(t, 30*time.Second, cfg.RetryConfig.MaxInterval)
	assert.InDelta(t, 1.5, cfg.RetryConfig.Multiplier, 0)
	assert.InDelta(t, 0.5, cfg.RetryConfig.RandomizationFactor, 0)
	require.True(t, cfg.QueueConfig.HasValue())
	assert.Equal(t, 10, cfg.QueueConfig.Get().NumConsumers)
	assert.EqualValues(t, 1000, cfg.QueueConfig.Get().QueueSize)
	assert.False(t, cfg.QueueConfig.Get().BlockOnOverflow)
}

// Every key of ours has a row in the README, and every key of the parts that are not ours is named there.
func TestReadmeHasEveryKey(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var keys func(typ reflect.Type, each func(key string, of reflect.Type))
	keys = func(typ reflect.Type, each func(string, reflect.Type)) {
		for field := range typ.Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
			switch {
			case name == "-" || (name == "" && options == ""):
			case strings.Contains(options, "squash"):
				keys(field.Type, each)
			default:
				each(name, field.Type)
			}
		}
	}
	row := func(prefix string) func(string, reflect.Type) {
		return func(key string, _ reflect.Type) {
			assert.Contains(t, string(readme), "| `"+prefix+key+"` |")
		}
	}
	named := func(key string, _ reflect.Type) {
		assert.True(t, regexp.MustCompile("`([a-z_:]+::)?"+key+"(::[a-z_:]+)?`").Match(readme), key)
	}
	theirs := map[string]bool{}
	keys(reflect.TypeFor[confighttp.ClientConfig](), func(key string, typ reflect.Type) {
		named(key, typ)
		theirs[key] = true
	})
	keys(reflect.TypeFor[Config](), func(key string, typ reflect.Type) {
		switch {
		case typ == reflect.TypeFor[PropertiesConfig]():
			keys(typ, row("properties::"))
		case key == "credential":
			keys(reflect.TypeFor[CredentialConfig](), row("credential::"))
		case key == "retry_on_failure":
			keys(typ, row("retry_on_failure::"))
		case key == "sending_queue":
			keys(reflect.TypeFor[exporterhelper.QueueBatchConfig](), named)
			keys(reflect.TypeFor[exporterhelper.BatchConfig](), named)
		case !theirs[key]:
			row("")(key, typ)
		}
	})
	assert.True(t, theirs["proxy_url"], "the client's keys were looked at")
}

// The envelope that the README shows is the one that is sent, in both conventions.
func TestReadmeExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, text, ok := strings.Cut(string(readme), "```json\n")
	require.True(t, ok)
	text, _, _ = strings.Cut(text, "```")
	var want any
	require.NoError(t, json.Unmarshal([]byte(text), &want))
	for _, attributes := range []map[string]any{
		{"http.method": "GET", "http.scheme": "https", "http.host": "shop.example.com", "http.target": "/cart/17", "http.status_code": 404},
		{"http.request.method": "GET", "url.scheme": "https", "server.address": "shop.example.com", "url.path": "/cart/17", "http.response.status_code": 404},
	} {
		x := newTestExporter(t, map[string]any{"properties": map[string]any{"consumed": false}})
		td := someTraces(1)
		rs := td.ResourceSpans().At(0)
		require.NoError(t, rs.Resource().Attributes().FromRaw(map[string]any{"ai.cloud.role": "shop.checkout", "k8s.pod.name": "checkout-7d9f8c6b5-x2x4z"}))
		s := rs.ScopeSpans().At(0).Spans().At(0)
		s.SetKind(ptrace.SpanKindServer)
		require.NoError(t, s.Attributes().FromRaw(attributes))
		s.Attributes().PutStr("http.route", "/cart/{id}")
		s.Attributes().PutInt("cart.items", 3)
		e := x.newEncoder()
		encodeTraces(e, td)
		var got any
		require.NoError(t, json.Unmarshal(e.buf, &got))
		assert.Equal(t, want, leftOut(want, got))
	}
}

// leftOut puts an ellipsis in got where want has one.
func leftOut(want, got any) any {
	if want == "…" && got != nil {
		return want
	}
	w, ok := want.(map[string]any)
	g, both := got.(map[string]any)
	if !ok || !both {
		return got
	}
	for k := range g {
		g[k] = leftOut(w[k], g[k])
	}
	return g
}

func TestConnectionString(t *testing.T) {
	const public = "https://monitor.azure.com"
	for _, tt := range []struct{ name, in, key, track, audience, err string }{
		{name: "key alone", in: "InstrumentationKey=k", key: "k", track: "https://dc.services.visualstudio.com/v2.1/track", audience: public},
		{
			name: "from the portal", in: "InstrumentationKey=11111111-2222-4333-8444-555555555555;IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/;LiveEndpoint=https://westeurope.livediagnostics.monitor.azure.com/;ApplicationId=66666666-2222-4333-8444-555555555555",
			key: "11111111-2222-4333-8444-555555555555", track: "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track", audience: public,
		},
		{name: "keys in any letters, blanks, order, empty parts", in: " ; ingestionendpoint = https://x/ ;;INSTRUMENTATIONKEY = k; ", key: "k", track: "https://x/v2.1/track", audience: public},
		{name: "unknown key", in: "InstrumentationKey=k;Future=1;Future=2", key: "k", track: "https://dc.services.visualstudio.com/v2.1/track", audience: public},
		{name: "value with =", in: "InstrumentationKey=k;IngestionEndpoint=https://x/a=b", key: "k", track: "https://x/a=b/v2.1/track", audience: public},
		{name: "a path that is there already", in: "InstrumentationKey=k;IngestionEndpoint=https://x/v2.1/track/", key: "k", track: "https://x/v2.1/track", audience: public},
		{name: "the path of older clients", in: "InstrumentationKey=k;IngestionEndpoint=https://x/ai/v2/track", key: "k", track: "https://x/ai/v2.1/track", audience: public},
		{name: "http", in: "InstrumentationKey=k;IngestionEndpoint=http://localhost:8080", key: "k", track: "http://localhost:8080/v2.1/track", audience: public},
		{name: "empty endpoint", in: "InstrumentationKey=k;IngestionEndpoint=", key: "k", track: "https://dc.services.visualstudio.com/v2.1/track", audience: public},
		{name: "suffix", in: "InstrumentationKey=k;EndpointSuffix=applicationinsights.us", key: "k", track: "https://dc.applicationinsights.us/v2.1/track", audience: "https://monitor.azure.us"},
		{name: "suffix with dots, and location", in: "InstrumentationKey=k;EndpointSuffix=.applicationinsights.azure.cn.;Location=.chinaeast2.", key: "k", track: "https://chinaeast2.dc.applicationinsights.azure.cn/v2.1/track", audience: "https://monitor.azure.cn"},
		{name: "endpoint before suffix", in: "InstrumentationKey=k;EndpointSuffix=x.org;IngestionEndpoint=https://y/", key: "k", track: "https://y/v2.1/track", audience: public},
		{name: "location alone", in: "InstrumentationKey=k;Location=eu", key: "k", track: "https://dc.services.visualstudio.com/v2.1/track", audience: public},
		{name: "audience", in: "InstrumentationKey=k;AADAudience=https://private.example.org/", key: "k", track: "https://dc.services.visualstudio.com/v2.1/track", audience: "https://private.example.org"},
		{name: "authorization by key", in: "Authorization=IKEY;InstrumentationKey=k", key: "k", track: "https://dc.services.visualstudio.com/v2.1/track", audience: public},

		{name: "blank", in: "  ", err: "must not be empty"},
		{name: "no key", in: "IngestionEndpoint=https://x/", err: "InstrumentationKey is missing or empty"},
		{name: "empty key", in: "InstrumentationKey=;IngestionEndpoint=https://x/", err: "InstrumentationKey is missing or empty"},
		{name: "long key", in: "InstrumentationKey=" + strings.Repeat("secret7", 6), err: "InstrumentationKey has 42 characters; the longest has 40 (value hidden)"},
		{name: "no name", in: "InstrumentationKey=k;=secret", err: "part 2 of 2 has no key"},
		{name: "twice", in: "InstrumentationKey=secret1;instrumentationkey=secret2", err: "InstrumentationKey is given twice"},
		{name: "other authorization", in: "InstrumentationKey=k;Authorization=secret", err: "Authorization has a value other than \"ikey\" (value hidden)"},
		{name: "no URL", in: "InstrumentationKey=k;IngestionEndpoint=secret.example.org", err: "IngestionEndpoint is not an absolute http or https URL (value hidden)"},
		{name: "other scheme", in: "InstrumentationKey=k;IngestionEndpoint=ftp://secret/", err: "IngestionEndpoint is not an absolute http or https URL (value hidden)"},
		{name: "user in the URL", in: "InstrumentationKey=k;IngestionEndpoint=https://u:secret@x/", err: "IngestionEndpoint is not an absolute http or https URL (value hidden)"},
		{name: "suffix with a path", in: "InstrumentationKey=k;EndpointSuffix=secret.org/path", err: "EndpointSuffix is not a DNS suffix (value hidden)"},
		{name: "location that is none", in: "InstrumentationKey=k;EndpointSuffix=x.org;Location=secret.evil", err: "Location is not made of letters and digits alone (value hidden)"},
		{name: "too long", in: "InstrumentationKey=" + strings.Repeat("secret", 1000), err: "has 6019 characters; the longest that Application Insights knows has 4096"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseConnectionString(tt.in)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				assert.NotContains(t, err.Error(), "secret")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.key, got.instrumentationKey)
			assert.Equal(t, tt.track, trackURL(got.endpoint).String())
			assert.Equal(t, tt.audience, got.audience)
		})
	}
}

// Whatever is given, an error does not repeat it.
func FuzzConnectionString(f *testing.F) {
	for _, s := range []string{"", "InstrumentationKey=k", "InstrumentationKey=k;IngestionEndpoint=https://x/", "a;b=c;=", "InstrumentationKey=k;EndpointSuffix=%zz;Location=;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const secret = "s3cr3tv4lu3"
		for _, in := range []string{s, s + secret, s + ";" + secret, "InstrumentationKey=k;" + s + "=" + secret} {
			cs, err := parseConnectionString(in)
			if err != nil {
				require.NotContains(t, err.Error(), secret)
				continue
			}
			require.NotEmpty(t, cs.instrumentationKey)
			require.NotNil(t, cs.endpoint)
			require.NotEmpty(t, cs.audience)
			require.Contains(t, trackURL(cs.endpoint).String(), trackPath)
		}
	})
}
