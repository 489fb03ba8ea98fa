// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
)

// rebuildInterval bounds how often a refused token makes the exporter sign in anew.
const rebuildInterval = 30 * time.Second

// tokens signs in with azidentity, which keeps tokens and renews them before they expire. Safe for concurrent use.
type tokens struct {
	build func() (azcore.TokenCredential, error)
	scope string
	// processWide: the tokens are kept for the process and outlive the credential, as a managed identity's are.
	processWide bool

	mu         sync.Mutex
	credential azcore.TokenCredential
	builtAt    time.Time
	refused    bool
}

// newTokens builds the credential, which needs no network yet.
func newTokens(ctx context.Context, cfg *CredentialConfig, audience string, client *confighttp.ClientConfig, set component.TelemetrySettings) (*tokens, error) {
	transport, err := tokenClient(ctx, cfg, client, set)
	if err != nil {
		return nil, err
	}
	t := &tokens{
		build:       func() (azcore.TokenCredential, error) { return newCredential(cfg, transport) },
		scope:       audience + "/.default",
		processWide: cfg.Kind == CredentialManagedIdentity,
	}
	if t.credential, err = t.build(); err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	t.builtAt = time.Now()
	return t, nil
}

// tokenClient is the HTTP client for the sign-in service: through the proxy and with the certificates that the
// exporter uses itself, and without what is meant for ingestion alone. A managed identity is asked for on the
// machine, where no proxy leads.
func tokenClient(ctx context.Context, cfg *CredentialConfig, client *confighttp.ClientConfig, set component.TelemetrySettings) (*http.Client, error) {
	cc := confighttp.NewDefaultClientConfig()
	cc.Timeout = 30 * time.Second
	cc.TLS = client.TLS
	if cfg.Kind != CredentialManagedIdentity {
		cc.ProxyURL = client.ProxyURL
	}
	c, err := cc.ToClient(ctx, nil, set)
	if err != nil {
		return nil, fmt.Errorf("credential: build HTTP client: %w", err)
	}
	return c, nil
}

func newCredential(cfg *CredentialConfig, transport policy.Transporter) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{
		Transport: transport,
		// exporterhelper retries; azidentity need not hold a push up for minutes.
		Retry: policy.RetryOptions{MaxRetries: 1, MaxRetryDelay: 2 * time.Second},
	}
	own := cfg.AuthorityHost != ""
	if own {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: cfg.AuthorityHost}
	}
	switch cfg.Kind {
	case CredentialManagedIdentity:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if cfg.ClientID != "" {
			o.ID = azidentity.ClientID(cfg.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	case CredentialWorkloadIdentity:
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: cfg.ClientID, TenantID: cfg.TenantID, TokenFilePath: cfg.TokenFile,
			DisableInstanceDiscovery: own,
		})
	case CredentialClientSecret:
		return azidentity.NewClientSecretCredential(cfg.TenantID, cfg.ClientID, string(cfg.ClientSecret), &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: own,
		})
	default:
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			ClientOptions: options, TenantID: cfg.TenantID, DisableInstanceDiscovery: own,
		})
	}
}

func (t *tokens) token(ctx context.Context) (string, error) {
	credential, anew, err := t.current()
	if err != nil {
		return "", err
	}
	options := policy.TokenRequestOptions{Scopes: []string{t.scope}}
	if anew && t.processWide {
		// Any claims make it pass over the tokens that it keeps; they go no further.
		options.Claims = "{}"
	}
	token, err := credential.GetToken(ctx, options)
	if err != nil {
		return "", err
	}
	return token.Token, nil
}

// current returns the credential. If the token of the old one was refused it returns a new one, and true, once:
// azidentity has no other way to let go of a token that it still holds valid.
func (t *tokens) current() (credential azcore.TokenCredential, anew bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused && time.Since(t.builtAt) >= rebuildInterval {
		credential, err := t.build()
		if err != nil {
			return nil, false, err
		}
		t.credential, t.builtAt, t.refused = credential, time.Now(), false
		anew = true
	}
	return t.credential, anew, nil
}

func (t *tokens) reject() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = true
}
