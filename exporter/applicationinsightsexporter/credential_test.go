// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

const testTenant = "99999999-8888-4777-8666-555555555555"

// signIn is a sign-in service: Entra ID's token endpoint, and the one that a managed identity asks.
type signIn struct {
	*httptest.Server

	mu        sync.Mutex
	issued    int
	lifetime  time.Duration
	refuse    bool
	resources []string // scopes and resources that were asked for
	forms     []map[string]string
}

func newSignIn(t *testing.T) (*signIn, string) {
	t.Helper()
	s := &signIn{lifetime: time.Hour}
	var ca string
	s.Server, ca = tlsFront(t, s)
	return s, ca
}

func (s *signIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		base := "https://" + r.Host + "/" + testTenant
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token",
		})
		return
	}
	_ = r.ParseForm()
	form := map[string]string{}
	for k := range r.Form {
		form[k] = r.Form.Get(k)
	}
	s.forms = append(s.forms, form)
	s.resources = append(s.resources, firstOf(form["scope"], form["resource"]))
	if s.refuse {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`)
		return
	}
	s.issued++
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": fmt.Sprint("token-", s.issued), "token_type": "Bearer", "expires_in": int(s.lifetime.Seconds()),
		"expires_on": strconv.FormatInt(time.Now().Add(s.lifetime).Unix(), 10), "resource": form["resource"],
	})
}

// bearer is the stand-in behind TLS; it keeps the Authorization of every request.
func bearer(t *testing.T, f *fixture) (settings map[string]any, headers func() []string) {
	t.Helper()
	var mu sync.Mutex
	var got []string
	front, ca := tlsFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = append(got, r.Header.Get("Authorization"))
		mu.Unlock()
		f.backend.ServeHTTP(w, r)
	}))
	settings = map[string]any{
		"connection_string": "InstrumentationKey=" + ingestion.InstrumentationKey + ";IngestionEndpoint=" + front.URL,
		"tls":               map[string]any{"ca_file": ca},
	}
	return settings, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}
}

// oneFile puts certificates together, since TLS settings name one file.
func oneFile(t *testing.T, files ...string) string {
	t.Helper()
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		all = append(all, b...)
	}
	out := filepath.Join(t.TempDir(), "all.pem")
	require.NoError(t, os.WriteFile(out, all, 0o600))
	return out
}

func clientSecret(authority string) map[string]any {
	return map[string]any{
		"kind": "client_secret", "tenant_id": testTenant, "client_id": "app-1", "client_secret": "the-client-secret", "authority_host": authority,
	}
}

// withCredential configures f with a credential against its own sign-in service.
func withCredential(t *testing.T, f *fixture, credential func(authority string) map[string]any) (*signIn, func() []string) {
	t.Helper()
	s, ca := newSignIn(t)
	settings, headers := bearer(t, f)
	settings["tls"] = map[string]any{"ca_file": oneFile(t, ca, settings["tls"].(map[string]any)["ca_file"].(string))}
	settings["credential"] = credential(s.URL)
	f.configure(settings)
	return s, headers
}

func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("service-account-token"), 0o600))

	t.Run("client secret", func(t *testing.T) {
		f := newFixture(t, nil)
		s, headers := withCredential(t, f, clientSecret)
		x := f.traces()
		for range 2 {
			require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
		}
		assert.Equal(t, []string{"Bearer token-1", "Bearer token-1"}, headers(), "a token is kept while it is valid")
		assert.Equal(t, []string{"https://monitor.azure.com/.default openid offline_access profile"}, s.resources)
		assert.Equal(t, "the-client-secret", s.forms[0]["client_secret"])
		assert.Equal(t, "app-1", s.forms[0]["client_id"])
	})
	t.Run("workload identity", func(t *testing.T) {
		f := newFixture(t, nil)
		s, headers := withCredential(t, f, func(authority string) map[string]any {
			return map[string]any{"kind": "workload_identity", "tenant_id": testTenant, "client_id": "app-2", "token_file": file, "authority_host": authority}
		})
		require.NoError(t, f.traces().ConsumeTraces(context.Background(), someTraces(1)))
		assert.Equal(t, []string{"Bearer token-1"}, headers())
		assert.Equal(t, "service-account-token", s.forms[0]["client_assertion"])
		assert.Equal(t, "app-2", s.forms[0]["client_id"])
	})
	t.Run("default, by the variables that the environment of a workload identity has", func(t *testing.T) {
		f := newFixture(t, nil)
		s, headers := withCredential(t, f, func(string) map[string]any { return map[string]any{"kind": "default"} })
		t.Setenv("AZURE_AUTHORITY_HOST", s.URL)
		t.Setenv("AZURE_TENANT_ID", testTenant)
		t.Setenv("AZURE_CLIENT_ID", "app-3")
		t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file)
		f.configure(mergeCredential(f, map[string]any{"kind": "default", "authority_host": s.URL}))
		require.NoError(t, f.traces().ConsumeTraces(context.Background(), someTraces(1)))
		assert.Equal(t, []string{"Bearer token-1"}, headers())
		assert.Equal(t, "app-3", s.forms[0]["client_id"])
	})
	t.Run("managed identity", func(t *testing.T) {
		f := newFixture(t, nil)
		id := rand.Text() // its tokens are kept for the process
		s, headers := withCredential(t, f, func(string) map[string]any {
			return map[string]any{"kind": "managed_identity", "client_id": id}
		})
		t.Setenv("IDENTITY_ENDPOINT", s.URL+"/msi/token")
		t.Setenv("IDENTITY_HEADER", "header")
		require.NoError(t, f.traces().ConsumeTraces(context.Background(), someTraces(1)))
		assert.Equal(t, []string{"Bearer token-1"}, headers())
		assert.Equal(t, []string{"https://monitor.azure.com"}, s.resources)
		assert.Equal(t, id, s.forms[0]["client_id"])
	})
}

// mergeCredential returns the settings that f has, with another credential.
func mergeCredential(f *fixture, credential map[string]any) map[string]any {
	return map[string]any{
		"connection_string": string(f.cfg.ConnectionString),
		"tls":               map[string]any{"ca_file": f.cfg.ClientConfig.TLS.CAFile},
		"credential":        credential,
	}
}

func TestAudience(t *testing.T) {
	for _, tt := range []struct{ more, want string }{
		{"", "https://monitor.azure.com"},
		{";AADAudience=https://private.example.org/", "https://private.example.org"},
	} {
		f := newFixture(t, nil)
		s, _ := withCredential(t, f, clientSecret)
		settings := mergeCredential(f, clientSecret(s.URL))
		settings["connection_string"] = settings["connection_string"].(string) + tt.more
		f.configure(settings)
		require.NoError(t, f.traces().ConsumeTraces(context.Background(), someTraces(1)))
		require.Len(t, s.resources, 1)
		assert.Equal(t, tt.want+"/.default", strings.Fields(s.resources[0])[0])
	}
}

// everyKind sets up each kind of credential against a sign-in service of its own.
func everyKind(t *testing.T, check func(t *testing.T, f *fixture, s *signIn, headers func() []string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("service-account-token"), 0o600))
	for kind, configure := range map[string]func(t *testing.T, f *fixture) (*signIn, func() []string){
		"client_secret": func(t *testing.T, f *fixture) (*signIn, func() []string) {
			t.Helper()
			return withCredential(t, f, clientSecret)
		},
		"workload_identity": func(t *testing.T, f *fixture) (*signIn, func() []string) {
			t.Helper()
			return withCredential(t, f, func(authority string) map[string]any {
				return map[string]any{"kind": "workload_identity", "tenant_id": testTenant, "client_id": "app-2", "token_file": file, "authority_host": authority}
			})
		},
		"managed_identity": func(t *testing.T, f *fixture) (*signIn, func() []string) {
			t.Helper()
			// Its tokens are kept for the process, by identity.
			s, headers := withCredential(t, f, func(string) map[string]any {
				return map[string]any{"kind": "managed_identity", "client_id": rand.Text()}
			})
			t.Setenv("IDENTITY_ENDPOINT", s.URL+"/msi/token")
			t.Setenv("IDENTITY_HEADER", "header")
			return s, headers
		},
		"default": func(t *testing.T, f *fixture) (*signIn, func() []string) {
			t.Helper()
			s, headers := withCredential(t, f, func(authority string) map[string]any {
				return map[string]any{"kind": "default", "authority_host": authority}
			})
			t.Setenv("AZURE_TENANT_ID", testTenant)
			t.Setenv("AZURE_CLIENT_ID", "app-3")
			t.Setenv("AZURE_CLIENT_SECRET", "the-client-secret")
			return s, headers
		},
	} {
		t.Run(kind, func(t *testing.T) {
			f := newFixture(t, nil)
			s, headers := configure(t, f)
			check(t, f, s, headers)
		})
	}
}

func TestTokensAreKeptWhileValid(t *testing.T) {
	everyKind(t, func(t *testing.T, f *fixture, s *signIn, headers func() []string) {
		x := f.traces()
		for range 2 {
			require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
		}
		assert.Equal(t, []string{"Bearer token-1", "Bearer token-1"}, headers())
		assert.Equal(t, 1, s.issued)
	})
}

func TestTokensAreRenewed(t *testing.T) {
	everyKind(t, func(t *testing.T, f *fixture, s *signIn, headers func() []string) {
		s.lifetime = time.Minute // less than the five minutes that a token must be good for
		x := f.traces()
		for range 2 {
			require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
		}
		assert.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, headers())
	})
}

func TestTokenRefusedByIngestion(t *testing.T) {
	everyKind(t, func(t *testing.T, f *fixture, _ *signIn, headers func() []string) {
		f.backend.Next(ingestion.Answer{Status: 401}, ingestion.Answer{Status: 401})
		x := f.traces()
		for range 2 {
			err := x.ConsumeTraces(context.Background(), someTraces(1))
			require.Error(t, err)
			assert.False(t, consumererror.IsPermanent(err))
		}
		assert.Equal(t, []string{"Bearer token-1", "Bearer token-1"}, headers(), "not a new sign-in for every refusal")
		assert.Equal(t, 1, f.logs.FilterMessageSnippet("does not let us in").Len())

		tokens := x.(*tracesExporter).x.sender.tokens.(*tokens)
		tokens.mu.Lock()
		tokens.builtAt = tokens.builtAt.Add(-rebuildInterval)
		tokens.mu.Unlock()
		for range 2 {
			require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(1)))
		}
		assert.Equal(t, []string{"Bearer token-2", "Bearer token-2"}, headers()[2:], "and the new token is kept")
	})
}

func TestSignInRefused(t *testing.T) {
	everyKind(t, func(t *testing.T, f *fixture, s *signIn, headers func() []string) {
		s.refuse = true
		x := f.traces()
		err := x.ConsumeTraces(context.Background(), someTraces(2))
		require.ErrorContains(t, err, "sign in to Microsoft Entra ID")
		assert.False(t, consumererror.IsPermanent(err), "the secret can be put right; the data waits")
		assert.Empty(t, headers(), "nothing is sent without a token")
		assert.Equal(t, map[string]int64{"result=no_credential": 1}, f.counter("requests"))
		assert.Equal(t, map[string]int64{"outcome=again": 2}, f.counter("items"))
		entries := f.logs.FilterMessageSnippet("No token").All()
		require.Len(t, entries, 1)
		told := err.Error() + fmt.Sprint(entries[0].ContextMap()) + dumped(t, f.cfg)
		for _, secret := range []string{"the-client-secret", "service-account-token", ingestion.InstrumentationKey} {
			assert.NotContains(t, told, secret)
		}

		s.mu.Lock()
		s.refuse = false
		s.mu.Unlock()
		require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(2)))
		assert.Equal(t, []string{"Bearer token-1"}, headers())
	})
}

// A token goes to the configured host only.
func TestTokenDoesNotFollowToStrangers(t *testing.T) {
	f := newFixture(t, nil)
	_, headers := withCredential(t, f, clientSecret)
	stranger := newFixture(t, nil)
	front, strangerHeaders := bearer(t, stranger)
	_, location, _ := strings.Cut(front["connection_string"].(string), "IngestionEndpoint=")
	f.backend.Next(redirectTo(location))
	err := f.traces().ConsumeTraces(context.Background(), someTraces(1))
	require.ErrorContains(t, err, "Azure cloud")
	assert.Len(t, headers(), 1)
	assert.Empty(t, strangerHeaders())
}

func TestCredentialIsBuiltAtStart(t *testing.T) {
	f := newFixture(t, nil)
	settings := map[string]any{"connection_string": "InstrumentationKey=k", "credential": map[string]any{"kind": "workload_identity"}}
	for _, env := range []string{"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"} {
		t.Setenv(env, "")
	}
	f.configure(settings)
	x := f.createTraces()
	require.ErrorContains(t, x.Start(context.Background(), f.host), "credential: ")
	require.NoError(t, x.Shutdown(context.Background()))
}
