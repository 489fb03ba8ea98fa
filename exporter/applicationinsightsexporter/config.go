// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

// Config is what users write under applicationinsights.
type Config struct {
	// ConnectionString is the resource's connection string, from its overview page.
	ConnectionString configopaque.String `mapstructure:"connection_string"`

	// ClientConfig is confighttp's. Its endpoint is empty as a rule; where it is set it takes the place of the
	// connection string's, for a proxy in front of ingestion.
	ClientConfig confighttp.ClientConfig `mapstructure:",squash"`

	// Credential signs requests with Microsoft Entra ID.
	Credential configoptional.Optional[CredentialConfig] `mapstructure:"credential"`

	// SpanEvents selects the span events that become items of their own.
	SpanEvents SpanEvents `mapstructure:"span_events"`

	// Properties selects what becomes a property besides the attributes without a field of their own.
	Properties PropertiesConfig `mapstructure:"properties"`

	// Server4xx says whether a request that a server answered with 4xx is a success, where its span does not say.
	Server4xx Outcome `mapstructure:"server_4xx"`

	// DailyCap says what happens to what ingestion refuses because the daily cap is reached.
	DailyCap CapAction `mapstructure:"daily_cap"`

	// MaxRequestBytes bounds the body of a request before compression, and after it too.
	MaxRequestBytes int `mapstructure:"max_request_bytes"`

	// MaxRequestItems bounds the number of items in a request.
	MaxRequestItems int `mapstructure:"max_request_items"`

	QueueConfig configoptional.Optional[exporterhelper.QueueBatchConfig] `mapstructure:"sending_queue"`
	RetryConfig configretry.BackOffConfig                                `mapstructure:"retry_on_failure"`

	_ struct{}
}

var _ component.Config = (*Config)(nil)

// SpanEvents selects span events.
type SpanEvents string

const (
	// SpanEventsExceptions selects exceptions only.
	SpanEventsExceptions SpanEvents = "exceptions"
	// SpanEventsAll selects exceptions, and every other event as a message.
	SpanEventsAll SpanEvents = "all"
	// SpanEventsNone selects none.
	SpanEventsNone SpanEvents = "none"
)

// Validate lists what is allowed.
func (s SpanEvents) Validate() error {
	return oneOf(s, SpanEventsExceptions, SpanEventsAll, SpanEventsNone)
}

// Outcome is what a request counts as.
type Outcome string

const (
	// OutcomeFailure says that the request failed.
	OutcomeFailure Outcome = "failure"
	// OutcomeSuccess says that it did not.
	OutcomeSuccess Outcome = "success"
)

// Validate lists what is allowed.
func (o Outcome) Validate() error { return oneOf(o, OutcomeFailure, OutcomeSuccess) }

// CapAction is what to do when the daily cap is reached.
type CapAction string

const (
	// CapActionDrop drops and counts the items, unless ingestion says when to try again.
	CapActionDrop CapAction = "drop"
	// CapActionWait keeps them and tries again.
	CapActionWait CapAction = "wait"
)

// Validate lists what is allowed.
func (a CapAction) Validate() error { return oneOf(a, CapActionDrop, CapActionWait) }

// PropertiesConfig selects properties.
type PropertiesConfig struct {
	// Resource copies the resource attributes to every item.
	Resource bool `mapstructure:"resource"`
	// Consumed copies attributes that fill a field or a tag of their own as well.
	Consumed bool `mapstructure:"consumed"`
	// Scope copies the name, version and attributes of the instrumentation scope.
	Scope bool `mapstructure:"scope"`

	_ struct{}
}

// CredentialKind is a way to get a token.
type CredentialKind string

const (
	// CredentialDefault tries what the environment offers, for development above all.
	CredentialDefault CredentialKind = "default"
	// CredentialManagedIdentity is the identity of an Azure resource.
	CredentialManagedIdentity CredentialKind = "managed_identity"
	// CredentialWorkloadIdentity exchanges the token of a Kubernetes service account.
	CredentialWorkloadIdentity CredentialKind = "workload_identity"
	// CredentialClientSecret is an application with a secret.
	CredentialClientSecret CredentialKind = "client_secret"
)

// Validate lists what is allowed.
func (k CredentialKind) Validate() error {
	return oneOf(k, CredentialDefault, CredentialManagedIdentity, CredentialWorkloadIdentity, CredentialClientSecret)
}

// CredentialConfig says how to sign in to Microsoft Entra ID.
type CredentialConfig struct {
	Kind         CredentialKind      `mapstructure:"kind"`
	ClientID     string              `mapstructure:"client_id"`
	TenantID     string              `mapstructure:"tenant_id"`
	ClientSecret configopaque.String `mapstructure:"client_secret"`
	// TokenFile holds the service account token of workload_identity.
	TokenFile string `mapstructure:"token_file"`
	// AuthorityHost is the sign-in service of another cloud, or one of your own.
	AuthorityHost string `mapstructure:"authority_host"`

	_ struct{}
}

// Validate checks which keys go with the kind.
func (c *CredentialConfig) Validate() error {
	var errs []error
	needs := func(key, value string) {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s must not be empty with kind %q", key, c.Kind))
		}
	}
	without := func(key, value string, kinds ...CredentialKind) {
		if value != "" && !slices.Contains(kinds, c.Kind) {
			errs = append(errs, fmt.Errorf("%s has no meaning with kind %q; remove it, or use kind %s", key, c.Kind, quoted(kinds)))
		}
	}
	if c.Kind.Validate() != nil {
		return nil // said by Kind itself
	}
	if c.Kind == CredentialClientSecret {
		needs("client_id", c.ClientID)
		needs("tenant_id", c.TenantID)
		needs("client_secret", string(c.ClientSecret))
	}
	without("client_id", c.ClientID, CredentialManagedIdentity, CredentialWorkloadIdentity, CredentialClientSecret)
	without("client_secret", string(c.ClientSecret), CredentialClientSecret)
	without("token_file", c.TokenFile, CredentialWorkloadIdentity)
	without("tenant_id", c.TenantID, CredentialDefault, CredentialWorkloadIdentity, CredentialClientSecret)
	without("authority_host", c.AuthorityHost, CredentialDefault, CredentialWorkloadIdentity, CredentialClientSecret)
	if c.AuthorityHost != "" {
		if u, err := url.Parse(c.AuthorityHost); err != nil || u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("authority_host: %q is not an https URL, such as %q", c.AuthorityHost, "https://login.microsoftonline.us"))
		}
	}
	return errors.Join(errs...)
}

// Validate checks what needs no network.
func (c *Config) Validate() error {
	var errs []error
	cs, err := parseConnectionString(string(c.ConnectionString))
	if err != nil {
		errs = append(errs, fmt.Errorf("connection_string: %w", err))
	}
	endpoint := cs.endpoint
	if c.ClientConfig.Endpoint != "" {
		if endpoint, err = parseEndpoint(c.ClientConfig.Endpoint); err != nil {
			errs = append(errs, fmt.Errorf("endpoint: %w", err))
		}
	}
	if c.Credential.HasValue() {
		if c.ClientConfig.Auth.HasValue() {
			errs = append(errs, errors.New("auth and credential cannot both sign a request; remove one"))
		}
		if endpoint != nil && endpoint.Scheme != "https" {
			errs = append(errs, errors.New("credential: a token is sent to an https endpoint only, and the endpoint is http"))
		}
	}
	switch c.ClientConfig.Compression {
	case configcompression.TypeGzip, "none", "":
	default:
		errs = append(errs, fmt.Errorf("compression: %q is not one of %q, %q", string(c.ClientConfig.Compression), "gzip", "none"))
	}
	if c.MaxRequestBytes < maxItemBytes {
		errs = append(errs, fmt.Errorf("max_request_bytes: %d is less than %d, the size of the largest item", c.MaxRequestBytes, maxItemBytes))
	}
	if c.MaxRequestItems < 1 || c.MaxRequestItems > maxRequestItems {
		errs = append(errs, fmt.Errorf("max_request_items: %d is not between 1 and %d", c.MaxRequestItems, maxRequestItems))
	}
	return errors.Join(errs...)
}

// oneOf explains a value that is none of the allowed ones.
func oneOf[T ~string](value T, allowed ...T) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%q is not one of %s", string(value), quoted(allowed))
}

func quoted[T ~string](values []T) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", string(v))
	}
	return b.String()
}
