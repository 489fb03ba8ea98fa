// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

func redirectTo(location string) ingestion.Answer {
	return ingestion.Answer{Status: http.StatusPermanentRedirect, Header: http.Header{"Location": {location}}}
}

func TestRedirectIsFollowedRememberedAndForgotten(t *testing.T) {
	f := newFixture(t, nil)
	other := ingestion.Start(t)
	f.backend.Always(&ingestion.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://" + other.Address + "/v2.1/track"}}})
	x := f.traces()

	require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(3)))
	assert.Len(t, other.IDs(), 3)
	assert.Empty(t, f.backend.IDs())
	assert.Equal(t, 1, f.backend.Requests())

	require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(3)))
	assert.Equal(t, 1, f.backend.Requests(), "remembered: nobody asks at home again")
	assert.Equal(t, 2, other.Requests())

	other.Stop()
	f.backend.Always(nil)
	require.Error(t, x.ConsumeTraces(context.Background(), someTraces(3)), "the other place is gone")
	require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(3)), "and forgotten")
	assert.Len(t, f.backend.IDs(), 3)
	assert.Equal(t, map[string]int64{"": 1}, f.counter("redirects"))
}

func TestRedirectIsForgottenWhenThePlaceRefuses(t *testing.T) {
	for _, status := range []int{404, 405, 500, 503, 401, 302} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			f := newFixture(t, nil)
			other := ingestion.Start(t)
			other.Always(&ingestion.Answer{Status: status})
			f.backend.Next(redirectTo("http://" + other.Address))
			x := f.traces()
			require.Error(t, x.ConsumeTraces(context.Background(), someTraces(1)))
			require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
			assert.Equal(t, 1, other.Requests())
			assert.Len(t, f.backend.IDs(), 1)
		})
	}
	t.Run("but not when it is only busy", func(t *testing.T) {
		f := newFixture(t, nil)
		other := ingestion.Start(t)
		other.Next(ingestion.Answer{Status: 429})
		f.backend.Next(redirectTo("http://" + other.Address))
		x := f.traces()
		require.Error(t, x.ConsumeTraces(context.Background(), someTraces(1)))
		require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
		assert.Equal(t, 2, other.Requests())
	})
}

func TestRedirectsInACircle(t *testing.T) {
	f := newFixture(t, nil)
	f.backend.Always(&ingestion.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://" + f.backend.Address + "/v2.1/track"}}})
	err := f.traces().ConsumeTraces(context.Background(), someTraces(1))
	require.ErrorContains(t, err, "more than 10 redirects")
	assert.False(t, consumererror.IsPermanent(err), "somebody can put that right; the data waits")
	assert.Equal(t, 11, f.backend.Requests())
}

func TestMemoryOfRedirects(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	home, away := mustURL(t, "https://home/"), mustURL(t, "https://away/")
	for _, tt := range []struct {
		cacheControl string
		hold         time.Duration
	}{
		{"", 12 * time.Hour},
		{"public, Max-Age=60", time.Minute},
		{"max-age=0", 0},
		{"no-store", 0},
		{"max-age=-1", 12 * time.Hour},
		{"max-age=x", 12 * time.Hour},
	} {
		t.Run(tt.cacheControl, func(t *testing.T) {
			r := route{home: home, now: func() time.Time { return now }}
			r.remember(away, http.Header{"Cache-Control": {tt.cacheControl}})
			at := func(d time.Duration) *url.URL {
				r.now = func() time.Time { return now.Add(d) }
				u, _ := r.current()
				return u
			}
			if tt.hold > 0 {
				assert.Equal(t, away, at(tt.hold-time.Second))
			}
			assert.Equal(t, home, at(tt.hold))
		})
	}
}

func TestWhereRedirectsMayLead(t *testing.T) {
	for _, tt := range []struct {
		name, home, location string
		guarded              bool
		want, err            string
	}{
		{name: "another host", home: "https://a/v2.1/track", location: "https://b/v2.1/track", want: "https://b/v2.1/track"},
		{name: "a path", home: "https://a/v2.1/track", location: "/x/v2.1/track", want: "https://a/x/v2.1/track"},
		{name: "a host alone", home: "https://a/v2.1/track", location: "https://b", want: "https://b/v2.1/track"},
		{name: "from http to http", home: "http://a/v2.1/track", location: "http://b/v2.1/track", want: "http://b/v2.1/track"},
		{name: "from http to https", home: "http://a/v2.1/track", location: "https://b/v2.1/track", want: "https://b/v2.1/track"},
		{name: "from https to http", home: "https://a/v2.1/track", location: "http://a/v2.1/track", err: "redirect from https to http"},
		{name: "nowhere", home: "https://a/v2.1/track", location: "", err: "redirect without a Location"},
		{name: "to a file", home: "https://a/v2.1/track", location: "file:///etc/passwd", err: "redirect to something that is not an http or https URL"},
		{name: "to no URL", home: "https://a/v2.1/track", location: "https://[", err: "redirect to something that is not a URL"},
		{name: "with a user", home: "https://a/v2.1/track", location: "https://u:p@b/v2.1/track", err: "redirect to a URL with a user in it"},

		{name: "credentials, same host", guarded: true, home: "https://a/v2.1/track", location: "https://a/other", want: "https://a/other"},
		{name: "credentials, same host in other letters", guarded: true, home: "https://a/v2.1/track", location: "https://A./other", want: "https://A./other"},
		{name: "credentials, another port", guarded: true, home: "https://a/v2.1/track", location: "https://a:8443/", err: "outside the configured one's Azure cloud: a"},
		{name: "credentials, another host", guarded: true, home: "https://a/v2.1/track", location: "https://b/", err: "outside the configured one's Azure cloud: b"},
		{
			name: "credentials, one cloud", guarded: true, home: "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track",
			location: "https://dc.services.visualstudio.com/v2.1/track", want: "https://dc.services.visualstudio.com/v2.1/track",
		},
		{
			name: "credentials, one cloud, another port", guarded: true, home: "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track",
			location: "https://dc.services.visualstudio.com:444/", err: "outside the configured one's Azure cloud",
		},
		{
			name: "credentials, two clouds", guarded: true, home: "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track",
			location: "https://usgov.in.applicationinsights.azure.us/", err: "outside the configured one's Azure cloud",
		},
		{
			name: "credentials, a host that ends like Azure's", guarded: true, home: "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track",
			location: "https://evilapplicationinsights.azure.com.evil.org/", err: "outside the configured one's Azure cloud",
		},
		{
			name: "credentials, a suffix without its dot", guarded: true, home: "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track",
			location: "https://evilservices.visualstudio.com/", err: "outside the configured one's Azure cloud",
		},
		{name: "credentials, to http", guarded: true, home: "http://a/v2.1/track", location: "http://b/", err: "outside the configured one's Azure cloud: b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := mustURL(t, tt.home)
			r := route{home: home, guarded: tt.guarded, now: time.Now}
			got, err := r.follow(home, tt.location)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got.String())
		})
	}
	t.Run("back to http by way of another https host", func(t *testing.T) {
		r := route{home: mustURL(t, "https://a/"), now: time.Now}
		_, err := r.follow(mustURL(t, "http://b/"), "http://c/")
		require.ErrorContains(t, err, "redirect from https to http")
	})
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// Headers, cookies and an authenticator that the user has set, which may hold a key, do not follow a redirect to a
// stranger. TestTokenDoesNotFollowToStrangers has the token.
func TestCredentialsDoNotFollowToStrangers(t *testing.T) {
	auth := basicauthextension.NewFactory()
	cfg := auth.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"client_auth": map[string]any{"username": "me", "password": "hush"}}).Unmarshal(cfg))
	ext, err := auth.Create(context.Background(), extensiontest.NewNopSettings(auth.Type()), cfg)
	require.NoError(t, err)
	require.NoError(t, ext.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, ext.Shutdown(context.Background())) })

	for name, settings := range map[string]map[string]any{
		"headers": {"headers": map[string]any{"X-Api-Key": "secret"}},
		"cookies": {"cookies": map[string]any{"enabled": true}},
		"auth":    {"auth": map[string]any{"authenticator": "basicauth"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.host = extensions{component.NewID(auth.Type()): ext}
			stranger := ingestion.Start(t)
			f.backend.Next(redirectTo("http://" + stranger.Address))
			f.configure(settings)
			x := f.traces()
			err := x.ConsumeTraces(context.Background(), someTraces(1))
			require.ErrorContains(t, err, "Azure cloud")
			assert.False(t, consumererror.IsPermanent(err))
			assert.Zero(t, stranger.Requests())
			require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)), "and nothing of it is remembered")
			assert.Len(t, f.backend.IDs(), 1)
		})
	}
}

// tlsFront puts TLS in front of the stand-in and returns its URL and the file of its certificate.
func tlsFront(t *testing.T, h http.Handler) (*httptest.Server, string) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return s, file
}

func TestTLS(t *testing.T) {
	f := newFixture(t, nil)
	var handshakes atomic.Int32
	front, ca := tlsFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handshakes.Add(1)
		f.backend.ServeHTTP(w, r)
	}))
	connection := "InstrumentationKey=" + ingestion.InstrumentationKey + ";IngestionEndpoint=" + front.URL

	t.Run("a certificate that nobody vouches for", func(t *testing.T) {
		f.configure(map[string]any{"connection_string": connection})
		err := f.traces().ConsumeTraces(context.Background(), someTraces(1))
		var unknown x509.UnknownAuthorityError
		require.ErrorAs(t, err, &unknown)
		assert.False(t, consumererror.IsPermanent(err))
		assert.Zero(t, handshakes.Load())
	})
	t.Run("a certificate for somebody else", func(t *testing.T) {
		f.configure(map[string]any{"connection_string": connection, "tls": map[string]any{"ca_file": ca, "server_name_override": "other.example.org"}})
		err := f.traces().ConsumeTraces(context.Background(), someTraces(1))
		var wrong x509.HostnameError
		require.ErrorAs(t, err, &wrong)
		assert.Zero(t, handshakes.Load())
	})
	t.Run("the right certificate", func(t *testing.T) {
		f.configure(map[string]any{"connection_string": connection, "tls": map[string]any{"ca_file": ca}})
		require.NoError(t, f.traces().ConsumeTraces(context.Background(), someTraces(1)))
		f.only()
	})
	t.Run("no way back to http", func(t *testing.T) {
		plain := ingestion.Start(t)
		f.backend.Next(redirectTo("http://" + plain.Address))
		f.configure(map[string]any{"connection_string": connection, "tls": map[string]any{"ca_file": ca}})
		err := f.traces().ConsumeTraces(context.Background(), someTraces(1))
		require.ErrorContains(t, err, "redirect from https to http")
		assert.Zero(t, plain.Requests())
	})
}

// What stands between here and ingestion may repeat what it was asked for.
func TestAnswersThatRepeatSecrets(t *testing.T) {
	f := newFixture(t, nil)
	const path, id = "/a-path-that-is-a-secret", "an-id-that-is-a-secret"
	f.configure(map[string]any{
		"connection_string": strings.TrimSuffix(f.backend.ConnectionString(), "/") + path + "/;ApplicationId=" + id,
	})
	x := f.traces()
	for _, status := range []int{http.StatusNotFound, http.StatusForbidden} {
		f.backend.Next(ingestion.Answer{Status: status, Body: fmt.Sprintf(
			`{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":%d,"message":"no %s/v2.1/track of %s for %s"}]}`,
			status, path, id, ingestion.InstrumentationKey,
		)})
		err := x.ConsumeTraces(context.Background(), someTraces(1))
		require.ErrorContains(t, err, "no (hidden)/v2.1/track of (hidden) for (hidden)")
		told := fmt.Sprint(f.logs.TakeAll())
		assert.Contains(t, told, "no (hidden)/v2.1/track of (hidden) for (hidden)")
		for _, secret := range []string{path, id, ingestion.InstrumentationKey} {
			assert.NotContains(t, told, secret)
		}
	}
}

// Nothing that is logged, or returned, has the connection string or a part of it that is not known anyway.
func TestSecretsAreNotTold(t *testing.T) {
	f := newFixture(t, nil)
	const path = "a-path-that-is-a-secret"
	f.configure(map[string]any{
		"connection_string": "InstrumentationKey=" + ingestion.InstrumentationKey + ";IngestionEndpoint=http://127.0.0.1:1/" + path,
		"headers":           map[string]any{"X-Api-Key": "header-secret"},
	})
	err := f.traces().ConsumeTraces(context.Background(), someTraces(1))
	require.Error(t, err)
	var told strings.Builder
	told.WriteString(err.Error())
	for _, e := range f.logs.All() {
		told.WriteString(e.Message + fmt.Sprint(e.ContextMap()))
	}
	told.WriteString(dumped(t, f.cfg) + fmt.Sprintf("%v %+v", f.cfg, f.cfg))
	for _, secret := range []string{path, ingestion.InstrumentationKey, "header-secret"} {
		assert.NotContains(t, told.String(), secret)
	}
}
