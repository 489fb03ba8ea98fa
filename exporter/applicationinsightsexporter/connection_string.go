// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const (
	defaultIngestionEndpoint = "https://dc.services.visualstudio.com"
	maxConnectionString      = 4096
	maxInstrumentationKey    = 40
	trackPath                = "/v2.1/track"
)

// connectionString is what the exporter needs of one. The zero value is what a string with an error gives.
type connectionString struct {
	instrumentationKey string
	endpoint           *url.URL // the base, without /v2.1/track
	audience           string
	applicationID      string
}

// secrets are the parts that the other side may repeat in what it says, and that are not said on.
func (c *connectionString) secrets() []string {
	secrets := []string{c.instrumentationKey}
	if c.applicationID != "" {
		secrets = append(secrets, c.applicationID)
	}
	if path := basePath(c.endpoint); path != "" {
		secrets = append(secrets, path)
	}
	return secrets
}

// parseConnectionString reads Key=Value parts joined by ";". Keys are case-insensitive, unknown ones ignored.
// No error repeats anything that stands in s: an error is logged, and s is not.
func parseConnectionString(s string) (connectionString, error) {
	if strings.TrimSpace(s) == "" {
		return connectionString{}, errors.New("must not be empty; want the connection string of an Application Insights resource, for example ${env:APPLICATIONINSIGHTS_CONNECTION_STRING}")
	}
	if len(s) > maxConnectionString {
		return connectionString{}, fmt.Errorf("has %d characters; the longest that Application Insights knows has %d", len(s), maxConnectionString)
	}
	values := map[string]string{}
	parts := strings.Split(s, ";")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return connectionString{}, fmt.Errorf("part %d of %d has no \"=\"; want Key=Value parts joined by \";\" (value hidden)", i+1, len(parts))
		}
		key = strings.ToLower(strings.TrimSpace(key))
		if key == "" {
			return connectionString{}, fmt.Errorf("part %d of %d has no key before \"=\"; want Key=Value parts joined by \";\" (value hidden)", i+1, len(parts))
		}
		if _, twice := values[key]; twice && knownKey(key) != "" {
			return connectionString{}, fmt.Errorf("part %s is given twice", knownKey(key))
		}
		values[key] = strings.TrimSpace(value)
	}

	var cs connectionString
	cs.instrumentationKey, cs.applicationID = values["instrumentationkey"], values["applicationid"]
	switch {
	case cs.instrumentationKey == "":
		return connectionString{}, errors.New("part InstrumentationKey is missing or empty")
	case len(cs.instrumentationKey) > maxInstrumentationKey:
		return connectionString{}, fmt.Errorf("part InstrumentationKey has %d characters; the longest has %d (value hidden)", len(cs.instrumentationKey), maxInstrumentationKey)
	}
	if a := values["authorization"]; a != "" && !strings.EqualFold(a, "ikey") {
		return connectionString{}, errors.New("part Authorization has a value other than \"ikey\" (value hidden)")
	}

	var err error
	switch {
	case values["ingestionendpoint"] != "":
		if cs.endpoint, err = parseEndpoint(values["ingestionendpoint"]); err != nil {
			return connectionString{}, errors.New("part IngestionEndpoint is not an absolute http or https URL (value hidden)")
		}
	case values["endpointsuffix"] != "":
		if cs.endpoint, err = suffixEndpoint(values["endpointsuffix"], values["location"]); err != nil {
			return connectionString{}, err
		}
	default:
		cs.endpoint, _ = url.Parse(defaultIngestionEndpoint)
	}
	if cs.audience = strings.TrimSuffix(values["aadaudience"], "/"); cs.audience == "" {
		cs.audience = cloudOf(cs.endpoint.Hostname()).audience
	}
	return cs, nil
}

// knownKey returns the spelling of a key that the exporter reads, and "" for others.
func knownKey(lower string) string {
	for _, k := range []string{"InstrumentationKey", "IngestionEndpoint", "EndpointSuffix", "Location", "AADAudience", "Authorization"} {
		if strings.EqualFold(k, lower) {
			return k
		}
	}
	return ""
}

// suffixEndpoint builds https://[location.]dc.suffix.
func suffixEndpoint(suffix, location string) (*url.URL, error) {
	suffix = strings.Trim(suffix, ". ")
	location = strings.Trim(location, ". ")
	for _, r := range location {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return nil, errors.New("part Location is not made of letters and digits alone (value hidden)")
		}
	}
	host := "dc." + suffix
	if location != "" {
		host = location + "." + host
	}
	u, err := parseEndpoint("https://" + host)
	if err != nil || u.Host != host {
		return nil, errors.New("part EndpointSuffix is not a DNS suffix (value hidden)")
	}
	return u, nil
}

// parseEndpoint takes an absolute http or https URL without user, query or fragment. Its errors do not repeat it.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("is not an absolute http or https URL (value hidden)")
	case u.User != nil:
		return nil, errors.New("has a user or password in the URL; use auth or headers (value hidden)")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("has a query or a fragment (value hidden)")
	}
	return u, nil
}

// trackURL is where envelopes are posted below a base. A base that ends in the path already, or in the one of older
// clients, is not given it twice.
func trackURL(base *url.URL) *url.URL {
	u := *base
	u.Path = basePath(base) + trackPath
	u.RawPath = ""
	return &u
}

// basePath is what stands before the path of ingestion, without a slash at its end.
func basePath(u *url.URL) string {
	path := strings.TrimRight(u.Path, "/")
	for _, track := range []string{trackPath, "/v2/track"} {
		if rest, ok := strings.CutSuffix(path, track); ok {
			return rest
		}
	}
	return path
}
