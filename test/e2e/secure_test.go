// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// secret is a volume of files as kubelet mounts a Secret: they are links into a
// folder that is exchanged as a whole.
type secret struct {
	dir string
	age int
}

func newSecret(t *testing.T, files map[string][]byte) *secret {
	t.Helper()
	s := &secret{dir: t.TempDir()}
	s.put(t, files)
	for name := range files {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(s.dir, name)))
	}
	return s
}

func (s *secret) put(t *testing.T, files map[string][]byte) {
	t.Helper()
	s.age++
	folder := fmt.Sprintf("..%d", s.age)
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, folder), 0o700))
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, folder, name), content, 0o600))
	}
	next := filepath.Join(s.dir, "..next")
	require.NoError(t, os.Symlink(folder, next))
	require.NoError(t, os.Rename(next, filepath.Join(s.dir, "..data")))
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, fmt.Sprintf("..%d", s.age-1))))
}

func (s *secret) file(name string) string { return filepath.Join(s.dir, name) }

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// serverFiles are what tls.yaml and mtls.yaml read: a certificate of this machine
// from one authority, and the authority of clients.
func serverFiles(t *testing.T, server, clients *authority.Authority) map[string][]byte {
	t.Helper()
	cert, key := server.Issue(t, "127.0.0.1", "localhost")
	return map[string][]byte{"tls.crt": read(t, cert), "tls.key": read(t, key), "ca.crt": read(t, clients.File)}
}

// trust is the TLS of a client that trusts an authority.
func trust(t *testing.T, a *authority.Authority) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(read(t, a.File)))
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// withCertificate is TLS with a client's certificate of an authority.
func withCertificate(t *testing.T, config *tls.Config, a *authority.Authority) *tls.Config {
	t.Helper()
	certFile, keyFile := a.Issue(t, "shop")
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	config = config.Clone()
	// Shown whatever authorities the server names, as a client of another would.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return config
}

func bearer(token string) map[string]string {
	return map[string]string{"authorization": "Bearer " + token}
}

func basic(name, password string) map[string]string {
	return map[string]string{"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}
}

// secured starts a mode with overlays of configs/secure in front of a backend.
func secured(t *testing.T, m mode, backend *otlpserver.Server, env map[string]string, overlays ...string) *collector.Collector {
	t.Helper()
	config := m.config(t, "otlp", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + backend.GRPC}).With(env)
	for _, overlay := range overlays {
		config.Files = append(config.Files, filepath.Join("secure", overlay+".yaml"))
	}
	config.Overlay += "\nexporters::otlp_grpc::sending_queue::batch::flush_timeout: 1ms"
	return collector.Start(t, config)
}

// knock sends one span over a connection of its own; the error is the answer.
type knock func(t *testing.T, c *collector.Collector, access telemetry.Access) error

// otlpDoors are the ports of every mode, otherDoors those of agent and gateway.
var (
	otlpDoors = map[string]knock{
		"otlp grpc": func(t *testing.T, c *collector.Collector, access telemetry.Access) error {
			t.Helper()
			client := telemetry.DialWith(t, telemetry.Sender{Protocol: telemetry.GRPC, Gzip: true}, c, access)
			return client.Traces(t.Context(), oneSpan())
		},
		"otlp http": func(t *testing.T, c *collector.Collector, access telemetry.Access) error {
			t.Helper()
			client := telemetry.DialWith(t, telemetry.Sender{Protocol: telemetry.HTTPProtobuf}, c, access)
			return client.Traces(t.Context(), oneSpan())
		},
	}
	otherDoors = map[string]knock{
		"jaeger grpc": func(t *testing.T, c *collector.Collector, access telemetry.Access) error {
			t.Helper()
			conn := access.Conn(t, c.Endpoint(t, grpcKey))
			_, err := api_v2.NewCollectorServiceClient(conn).PostSpans(access.Context(t.Context()), &api_v2.PostSpansRequest{Batch: newRide().proto()})
			return err
		},
		"jaeger http": func(t *testing.T, c *collector.Collector, access telemetry.Access) error {
			t.Helper()
			body, err := thrift.NewTSerializer().Write(t.Context(), newRide().thrift())
			require.NoError(t, err)
			return postWith(t, access, c.Endpoint(t, httpKey)+"/api/traces", "application/x-thrift", body)
		},
		"zipkin": func(t *testing.T, c *collector.Collector, access telemetry.Access) error {
			t.Helper()
			return postWith(t, access, c.Endpoint(t, zipkinKey)+"/api/v1/spans", "application/json", []byte(newRide().zipkinV1JSON()))
		},
	}
)

var allDoors = func() map[string]knock {
	all := maps.Clone(otlpDoors)
	maps.Copy(all, otherDoors)
	return all
}()

// postWith posts to Jaeger's or Zipkin's port, which answer 202.
func postWith(t *testing.T, access telemetry.Access, address, contentType string, body []byte) error {
	t.Helper()
	header := http.Header{"Content-Type": {contentType}}
	for name, value := range access.Header {
		header.Set(name, value)
	}
	_, err := telemetry.Post(t.Context(), access.HTTPClient(t), access.Scheme()+address, header, body)
	if answer := new(telemetry.HTTPError); errors.As(err, &answer) && answer.Status == http.StatusAccepted {
		return nil
	}
	return err
}

// let tells that everybody with this access is let in at all doors.
func let(t *testing.T, c *collector.Collector, doors map[string]knock, access telemetry.Access) {
	t.Helper()
	for name, knock := range doors {
		require.NoError(t, knock(t, c, access), name)
	}
}

// isUnauthenticated tells the answer to bad credentials from others.
func isUnauthenticated(err error) bool {
	if answer := new(telemetry.HTTPError); errors.As(err, &answer) {
		return answer.Status == http.StatusUnauthorized
	}
	return status.Code(err) == codes.Unauthenticated
}

// oneSpan is a request of one span.
func oneSpan() ptrace.Traces { return telemetry.Numbered("shop", telemetry.NewTraceID(), 0, 1) }

// assertListening tells that the ports of the files are open but for those closed,
// and that no other is.
func assertListening(t *testing.T, c *collector.Collector, closed ...string) {
	t.Helper()
	want := []string{c.MetricsAddress}
	for key, address := range c.Endpoints {
		if !slices.Contains(closed, key) {
			want = append(want, strings.Replace(address, "localhost:", "127.0.0.1:", 1))
		}
	}
	assert.ElementsMatch(t, want, c.Listening(t))
}

// accepted is the number of spans that were let in.
func accepted(t *testing.T, c *collector.Collector) int {
	t.Helper()
	return int(c.Metric(t, "otelcol_receiver_accepted_spans"))
}

// With tls.yaml those are let in who trust the right authority and speak TLS 1.2
// or 1.3, at every port that is open; with mtls.yaml those of them who show a
// certificate of the right authority.
func TestTLS(t *testing.T) {
	ours, clients, other := authority.New(t), authority.New(t), authority.New(t)
	trusted := trust(t, ours)
	only := func(version uint16) *tls.Config {
		config := trusted.Clone()
		config.MinVersion, config.MaxVersion = version, version
		return config
	}
	for _, test := range []struct {
		overlay   string
		good, bad map[string]*tls.Config
	}{
		{
			overlay: "tls",
			good:    map[string]*tls.Config{"TLS 1.2": only(tls.VersionTLS12), "TLS 1.3": only(tls.VersionTLS13)},
			bad: map[string]*tls.Config{
				"plain text": nil, "another authority": trust(t, other), "TLS 1.1": only(tls.VersionTLS11),
			},
		},
		{
			overlay: "mtls",
			good: map[string]*tls.Config{
				"TLS 1.2": withCertificate(t, only(tls.VersionTLS12), clients),
				"TLS 1.3": withCertificate(t, only(tls.VersionTLS13), clients),
			},
			bad: map[string]*tls.Config{
				"plain text":                         nil,
				"no certificate":                     trusted,
				"no certificate, TLS 1.2":            only(tls.VersionTLS12),
				"certificate of another authority":   withCertificate(t, trusted, other),
				"certificate of servers' authority":  withCertificate(t, trusted, ours),
				"another authority of the collector": withCertificate(t, trust(t, other), clients),
			},
		},
	} {
		for m, doors := range map[mode]map[string]knock{"gateway": allDoors, "sidecar": otlpDoors} {
			t.Run(test.overlay+" "+string(m), func(t *testing.T) {
				t.Parallel()
				backend := otlpserver.Start(t, otlpserver.Config{})
				volume := newSecret(t, serverFiles(t, ours, clients))
				c := secured(t, m, backend, map[string]string{"OTELCOL_TLS_DIRECTORY": volume.dir}, test.overlay)
				want := 0
				for name, config := range test.bad {
					for door, knock := range doors {
						require.Error(t, knock(t, c, telemetry.Access{TLS: config}), "%s at %s", name, door)
					}
				}
				assert.Zero(t, accepted(t, c))
				for _, config := range test.good {
					let(t, c, doors, telemetry.Access{TLS: config})
					want += len(doors)
				}
				harness.Await(t, "spans", func() error {
					if n := backend.Traces.SpanCount(); n != want {
						return fmt.Errorf("%d, want %d", n, want)
					}
					return nil
				})
				assertListening(t, c, compactKey, binaryKey)
				c.Stop(t)
			})
		}
	}
}

// A certificate that was renewed is shown to whoever connects after it, and the
// clients of an authority that was exchanged are let in or not, without a restart.
// While certificate and key do not belong together nobody can connect, and after
// it everybody.
func TestRenewal(t *testing.T) {
	t.Parallel()
	const limit = 30 * time.Second // more than reload_interval of the overlays
	old, renewed := authority.New(t), authority.New(t)
	oldClient := withCertificate(t, trust(t, old), old)
	newClient := withCertificate(t, trust(t, renewed), renewed)
	volume := newSecret(t, serverFiles(t, old, old))
	c := secured(t, "gateway", otlpserver.Start(t, otlpserver.Config{}), map[string]string{"OTELCOL_TLS_DIRECTORY": volume.dir}, "mtls")
	let(t, c, allDoors, telemetry.Access{TLS: oldClient})

	files := serverFiles(t, renewed, renewed)
	half := serverFiles(t, old, old)
	half["tls.crt"] = files["tls.crt"]
	volume.put(t, half)
	for door, knock := range allDoors {
		harness.AwaitFor(t, limit, door+" refuses", func() error {
			if knock(t, c, telemetry.Access{TLS: oldClient}) == nil {
				return errors.New("the client of before is let in")
			}
			return nil
		})
	}
	volume.put(t, files)
	for door, knock := range allDoors {
		harness.AwaitFor(t, limit, door+" has the new certificate", func() error {
			return knock(t, c, telemetry.Access{TLS: newClient})
		})
		require.Error(t, knock(t, c, telemetry.Access{TLS: oldClient}), door)
		// The old authority's client, who has heard of the server's new one.
		require.Error(t, knock(t, c, telemetry.Access{TLS: withCertificate(t, trust(t, renewed), old)}), door)
	}
	c.Stop(t)
}

// apr1Hash is of goodPassword, by: openssl passwd -apr1 -salt saltsalt
const apr1Hash = "$apr1$saltsalt$DCTjkUjgrZB5udb5DyjWE."

const (
	goodToken  = "good-token-1f2e3d4c"
	otherToken = "good-token-of-billing"
	nextToken  = "next-token-5b6a7988"
	badToken   = "wrong-token-0badc0de"

	goodPassword = "good-password-7c8d9e"
	badPassword  = "wrong-password-0bad"
)

// credentialsTest tells good credentials of an overlay from bad ones.
type credentialsTest struct {
	overlay   string
	env       func(t *testing.T) map[string]string
	good, bad map[string]map[string]string
}

func credentialsTests() []credentialsTest {
	return []credentialsTest{
		{
			overlay: "bearer",
			env: func(t *testing.T) map[string]string {
				t.Helper()
				volume := newSecret(t, map[string][]byte{"tokens": []byte(goodToken + " shop\n" + otherToken + " billing\n")})
				return map[string]string{"OTELCOL_TOKENS_FILE": volume.file("tokens")}
			},
			good: map[string]map[string]string{"first": bearer(goodToken), "second": bearer(otherToken)},
			bad: map[string]map[string]string{
				"none":               nil,
				"another":            bearer(badToken),
				"empty":              bearer(""),
				"its beginning":      bearer(goodToken[:len(goodToken)-1]),
				"with more":          bearer(goodToken + "x"),
				"with its owner":     bearer(goodToken + " shop"),
				"as Basic":           basic("shop", goodToken),
				"without its scheme": {"authorization": goodToken},
				"in another header":  {"x-authorization": "Bearer " + goodToken},
			},
		},
		{
			overlay: "basic",
			env: func(t *testing.T) map[string]string {
				t.Helper()
				hash, err := bcrypt.GenerateFromPassword([]byte(goodPassword), bcrypt.MinCost)
				require.NoError(t, err)
				lines := "shop:" + string(hash) + "\nbilling:" + apr1Hash + "\n"
				volume := newSecret(t, map[string][]byte{"htpasswd": []byte(lines)})
				return map[string]string{"OTELCOL_HTPASSWD_FILE": volume.file("htpasswd")}
			},
			good: map[string]map[string]string{"bcrypt": basic("shop", goodPassword), "apr1": basic("billing", goodPassword)},
			bad: map[string]map[string]string{
				"none":             nil,
				"wrong password":   basic("shop", badPassword),
				"wrong user":       basic("nobody", goodPassword),
				"empty password":   basic("shop", ""),
				"hash as password": basic("billing", apr1Hash),
				"not base64":       {"authorization": "Basic " + goodPassword},
				"as a token":       bearer(goodPassword),
			},
		},
	}
}

// With bearer.yaml and basic.yaml those with good credentials are let in, at every
// port that is open; all others get 401 or Unauthenticated, and no credentials,
// good or bad, stand in the log.
func TestCredentials(t *testing.T) {
	ours := authority.New(t)
	for _, test := range credentialsTests() {
		for m, doors := range map[mode]map[string]knock{"agent": allDoors, "gateway": allDoors, "sidecar": otlpDoors} {
			t.Run(test.overlay+" "+string(m), func(t *testing.T) {
				t.Parallel()
				backend := otlpserver.Start(t, otlpserver.Config{})
				env := test.env(t)
				overlays, access := []string{test.overlay}, telemetry.Access{}
				if m == "gateway" { // as the overlays advise
					env["OTELCOL_TLS_DIRECTORY"] = newSecret(t, serverFiles(t, ours, ours)).dir
					overlays, access = []string{"tls", test.overlay}, telemetry.Access{TLS: trust(t, ours)}
				}
				c := secured(t, m, backend, env, overlays...)
				for name, header := range test.bad {
					for door, knock := range doors {
						err := knock(t, c, telemetry.Access{TLS: access.TLS, Header: header})
						assert.True(t, isUnauthenticated(err), "%s at %s: %v", name, door, err)
						assertSecretless(t, fmt.Sprint(err), test)
					}
				}
				assert.Zero(t, accepted(t, c))
				// Those by HTTP are answered before anything of ours is told.
				c.AwaitMetric(t, float64(len(test.bad)), "otelcol_extension_refusals_requests", "transport=grpc", "status=Unauthenticated")
				want := 0
				for _, header := range test.good {
					let(t, c, doors, telemetry.Access{TLS: access.TLS, Header: header})
					want += len(doors)
				}
				harness.Await(t, "spans", func() error {
					if n := backend.Traces.SpanCount(); n != want {
						return fmt.Errorf("%d, want %d", n, want)
					}
					return nil
				})
				if m == "gateway" { // good credentials do not make up for plain text
					for _, header := range test.good {
						for door, knock := range doors {
							require.Error(t, knock(t, c, telemetry.Access{Header: header}), door)
						}
					}
				}
				assertListening(t, c, compactKey, binaryKey)
				c.Stop(t)
				assertSecretless(t, c.Stdout.String()+c.Stderr.String(), test)
			})
		}
	}
}

// assertSecretless looks for what a client has sent, and its decoded forms.
func assertSecretless(t *testing.T, text string, test credentialsTest) {
	t.Helper()
	secrets := []string{goodToken, otherToken, badToken, goodPassword, badPassword, apr1Hash}
	for _, headers := range []map[string]map[string]string{test.good, test.bad} {
		for _, header := range headers {
			for _, value := range header {
				if _, secret, _ := strings.Cut(value, " "); secret != "" {
					secrets = append(secrets, secret)
				}
			}
		}
	}
	for _, secret := range secrets {
		assert.NotContains(t, text, secret)
	}
}

// A token that was added to the file is good, and one that was taken from it no
// longer, without a restart.
func TestTokenRenewal(t *testing.T) {
	t.Parallel()
	volume := newSecret(t, map[string][]byte{"tokens": []byte(goodToken)})
	c := secured(t, "sidecar", otlpserver.Start(t, otlpserver.Config{}), map[string]string{"OTELCOL_TOKENS_FILE": volume.file("tokens")}, "bearer")
	// More than once, since what tells of a change must be set up anew after each.
	before := goodToken
	for i := range 3 {
		let(t, c, otlpDoors, telemetry.Access{Header: bearer(before)})
		after := fmt.Sprintf("%s-%d", nextToken, i)
		volume.put(t, map[string][]byte{"tokens": []byte(after)})
		for door, knock := range otlpDoors {
			harness.Await(t, "the new token at "+door, func() error {
				return knock(t, c, telemetry.Access{Header: bearer(after)})
			})
			assert.True(t, isUnauthenticated(knock(t, c, telemetry.Access{Header: bearer(before)})), door)
		}
		before = after
	}
	c.Stop(t)
	assert.NotContains(t, c.Stderr.String(), nextToken)
}

var documentedExtensions = regexp.MustCompile(`#   --config "yaml:(service::extensions: [^"]*)"`)

// Every overlay documents the variables that it reads, each with a default, and is
// valid behind every mode and backend; behind a backend that has an authenticator of
// its own with what the overlay says, and then both authenticators are there.
func TestSecureFiles(t *testing.T) {
	overlays, err := filepath.Glob(filepath.Join(collector.Configs(t), "secure", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, overlays)
	for _, overlay := range overlays {
		file := filepath.Join("secure", filepath.Base(overlay))
		for name, required := range documented(t, file) {
			assert.False(t, required, name)
		}
		extensions := documentedExtensions.FindStringSubmatch(string(read(t, overlay)))
		for _, m := range modes {
			for _, backend := range backendFiles(t) {
				t.Run(filepath.Base(overlay)+" "+string(m)+" "+backend, func(t *testing.T) {
					t.Parallel()
					config := m.config(t, backend, examples)
					config.Files = append(config.Files, file)
					if extensions != nil && (backend == "openobserve" || backend == "all") {
						config.Overlay += "\n" + strings.ReplaceAll(extensions[1], "\n#", "")
					}
					p := collector.Run(t, "validate", config)
					assert.Zero(t, p.ExitCode(), p.Stderr.String())
				})
			}
		}
	}
}

// With backend/openobserve.yaml and a token for clients, both authenticators work.
func TestBothAuthenticators(t *testing.T) {
	t.Parallel()
	server := otlpserver.Start(t, otlpserver.Config{Prefix: openObservePrefix, Username: openObserveUser, Password: openObservePassword})
	config := mode("sidecar").config(t, "openobserve", map[string]string{
		"OPENOBSERVE_ENDPOINT": server.URL(),
		"OPENOBSERVE_USERNAME": openObserveUser,
		"OPENOBSERVE_PASSWORD": openObservePassword,
		"OTELCOL_TOKENS_FILE":  newSecret(t, map[string][]byte{"tokens": []byte(goodToken)}).file("tokens"),
	})
	overlay := filepath.Join("secure", "bearer.yaml")
	config.Files = append(config.Files, overlay)
	extensions := documentedExtensions.FindStringSubmatch(string(read(t, filepath.Join(collector.Configs(t), overlay))))
	require.NotNil(t, extensions)
	config.Overlay = strings.ReplaceAll(extensions[1], "\n#", "")
	c := collector.Start(t, config)
	let(t, c, otlpDoors, telemetry.Access{Header: bearer(goodToken)})
	for door, knock := range otlpDoors {
		assert.True(t, isUnauthenticated(knock(t, c, telemetry.Access{})), door)
	}
	harness.Await(t, "spans", func() error { return moreSpans(server, len(otlpDoors)-1) })
	c.Stop(t)
}

// Without the files that an overlay reads, the collector does not start: it is
// never open because something is missing. The error names the file.
func TestMissingSecrets(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	for name, test := range map[string]struct {
		env     map[string]string
		overlay string
		says    string
	}{
		"tls":         {map[string]string{"OTELCOL_TLS_DIRECTORY": missing}, "tls", "missing/tls.crt"},
		"mtls":        {map[string]string{"OTELCOL_TLS_DIRECTORY": missing}, "mtls", "missing/tls.crt"},
		"bearer":      {map[string]string{"OTELCOL_TOKENS_FILE": missing}, "bearer", "missing"},
		"empty token": {map[string]string{"OTELCOL_TOKENS_FILE": empty}, "bearer", "empty"},
		"basic":       {map[string]string{"OTELCOL_HTPASSWD_FILE": missing}, "basic", "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			config := mode("sidecar").config(t, "console", test.env)
			config.Files = append(config.Files, filepath.Join("secure", test.overlay+".yaml"))
			config.Overlay = "receivers::otlp::protocols: {grpc: {endpoint: " + harness.FreeAddress(t) + "}, http: {endpoint: " + harness.FreeAddress(t) +
				"}}\nservice::telemetry::metrics::level: none\nextensions: {health_check: {endpoint: " + harness.FreeAddress(t) +
				"}, pprof: {endpoint: " + harness.FreeAddress(t) + "}, zpages: {endpoint: " + harness.FreeAddress(t) + "}}"
			p := collector.Run(t, "", config)
			assert.Positive(t, p.ExitCode())
			_, message, _ := strings.Cut("\n"+p.Stderr.String(), "\nError: ")
			assert.Contains(t, message, test.says)
		})
	}
}

// The SDK's exporters and telemetrygen, as people use them, get through TLS with
// their own certificate and a token, and not without.
func TestSecuredClients(t *testing.T) {
	t.Parallel()
	ours := authority.New(t)
	backend := otlpserver.Start(t, otlpserver.Config{})
	files := serverFiles(t, ours, ours)
	env := map[string]string{
		"OTELCOL_TLS_DIRECTORY": newSecret(t, files).dir,
		"OTELCOL_TOKENS_FILE":   newSecret(t, map[string][]byte{"tokens": []byte(goodToken)}).file("tokens"),
	}
	c := secured(t, "gateway", backend, env, "mtls", "bearer")
	config := withCertificate(t, trust(t, ours), ours)

	for name, newClient := range map[string]func(headers map[string]string) otlptrace.Client{
		"SDK grpc": func(headers map[string]string) otlptrace.Client {
			return otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(c.GRPC(t)), otlptracegrpc.WithHeaders(headers),
				otlptracegrpc.WithTLSCredentials(credentials.NewTLS(config)))
		},
		"SDK http": func(headers map[string]string) otlptrace.Client {
			return otlptracehttp.NewClient(otlptracehttp.WithEndpoint(c.HTTP(t)), otlptracehttp.WithHeaders(headers),
				otlptracehttp.WithTLSClientConfig(config))
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := backend.Traces.SpanCount()
			require.NoError(t, exportSpan(t, newClient(bearer(goodToken))))
			harness.Await(t, "span", func() error { return moreSpans(backend, before) })
			err := exportSpan(t, newClient(bearer(badToken)))
			require.Error(t, err)
			assert.NotContains(t, err.Error(), badToken)
		})
	}

	telemetrygen := harness.Build(t, harness.Server{
		Name: "telemetrygen", Folder: "tools",
		Module:  "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen",
		Package: "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen",
	})
	certFile, keyFile := ours.Issue(t, "load")
	secure := []string{"--ca-cert", ours.File, "--mtls", "--client-cert", certFile, "--client-key", keyFile}
	for name, args := range map[string][]string{
		"telemetrygen grpc": {"--otlp-endpoint", c.GRPC(t)},
		"telemetrygen http": {"--otlp-endpoint", c.HTTP(t), "--otlp-http"},
	} {
		t.Run(name, func(t *testing.T) {
			generate := func(more ...string) {
				all := append([]string{"traces", "--traces", "1"}, args...)
				harness.Run(t, harness.Spec{Path: telemetrygen, Args: append(all, more...)})
			}
			before := backend.Traces.SpanCount()
			generate(append(slices.Clone(secure), "--otlp-header", `Authorization="Bearer `+goodToken+`"`)...)
			harness.Await(t, "span", func() error { return moreSpans(backend, before) })
			taken := accepted(t, c)
			generate(append(slices.Clone(secure), "--otlp-header", `Authorization="Bearer `+badToken+`"`)...)
			generate("--ca-cert", ours.File, "--otlp-header", `Authorization="Bearer `+goodToken+`"`)
			assert.Equal(t, taken, accepted(t, c))
		})
	}
	c.Stop(t)
}

// exportSpan sends a span through the SDK. It does not try again.
func exportSpan(t *testing.T, client otlptrace.Client) error {
	t.Helper()
	exporter, err := otlptrace.New(t.Context(), client)
	require.NoError(t, err)
	var failed error
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spanExporter(func(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
		failed = exporter.ExportSpans(ctx, spans)
		return failed
	})))
	_, span := provider.Tracer("shop").Start(t.Context(), "order")
	span.End()
	require.NoError(t, provider.Shutdown(t.Context()))
	_ = exporter.Shutdown(context.Background()) // with it goes the connection
	return failed
}

type spanExporter func(context.Context, []sdktrace.ReadOnlySpan) error

func (e spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return e(ctx, spans)
}

func (spanExporter) Shutdown(context.Context) error { return nil }

func moreSpans(backend *otlpserver.Server, before int) error {
	if n := backend.Traces.SpanCount(); n <= before {
		return fmt.Errorf("%d as before", n)
	}
	return nil
}

// The environment variables of the OpenTelemetry specification, as docs/security.md
// has them, are enough for an SDK.
func TestSecuredByEnvironment(t *testing.T) {
	ours, clients := authority.New(t), authority.New(t)
	backend := otlpserver.Start(t, otlpserver.Config{})
	c := secured(t, "gateway", backend, map[string]string{
		"OTELCOL_TLS_DIRECTORY": newSecret(t, serverFiles(t, ours, clients)).dir,
		"OTELCOL_TOKENS_FILE":   newSecret(t, map[string][]byte{"tokens": []byte(goodToken)}).file("tokens"),
	}, "mtls", "bearer")
	certFile, keyFile := clients.Issue(t, "shop")
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", ours.File)
	t.Setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certFile)
	t.Setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", keyFile)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20"+goodToken)
	for name, test := range map[string]struct {
		address string
		client  func() otlptrace.Client
	}{
		"grpc": {c.GRPC(t), func() otlptrace.Client { return otlptracegrpc.NewClient() }},
		"http": {c.HTTP(t), func() otlptrace.Client { return otlptracehttp.NewClient() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://"+test.address)
			before := backend.Traces.SpanCount()
			require.NoError(t, exportSpan(t, test.client()))
			harness.Await(t, "span", func() error { return moreSpans(backend, before) })
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "")
			require.Error(t, exportSpan(t, test.client()))
		})
	}
	c.Stop(t)
}

// One collector sends to another that asks for TLS, a certificate and a token.
func TestSecuredCollectors(t *testing.T) {
	t.Parallel()
	ours, clients := authority.New(t), authority.New(t)
	backend := otlpserver.Start(t, otlpserver.Config{})
	c := secured(t, "gateway", backend, map[string]string{
		"OTELCOL_TLS_DIRECTORY": newSecret(t, serverFiles(t, ours, clients)).dir,
		"OTELCOL_TOKENS_FILE":   newSecret(t, map[string][]byte{"tokens": []byte(goodToken)}).file("tokens"),
	}, "mtls", "bearer")
	certFile, keyFile := clients.Issue(t, "agent")
	config := mode("sidecar").config(t, "otlp", map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "https://" + c.GRPC(t),
		"OTLP_HEADERS":                `{authorization: "Bearer ` + goodToken + `"}`,
	})
	config.Overlay = fmt.Sprintf("exporters::otlp_grpc::tls: {ca_file: %s, cert_file: %s, key_file: %s}", ours.File, certFile, keyFile)
	agent := collector.Start(t, config)
	s := telemetry.NewShop()
	send(t, agent, s)
	harness.Await(t, "spans", func() error { return atOTLP(backend, s) })
	agent.Stop(t)
	c.Stop(t)
}
