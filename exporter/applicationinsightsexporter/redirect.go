// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// azureCloud is a cloud with its ingestion hosts. A token for one cloud is never sent to another.
type azureCloud struct {
	audience string
	suffixes []string
}

// clouds are the clouds by the suffixes of their hosts, as Microsoft's SDKs have them. The first is the default.
var clouds = []azureCloud{
	{"https://monitor.azure.com", []string{".services.visualstudio.com", ".applicationinsights.azure.com", ".monitor.azure.com", ".applicationinsights.microsoft.com"}},
	{"https://monitor.azure.us", []string{".monitor.azure.us", ".applicationinsights.azure.us", ".applicationinsights.us"}},
	{"https://monitor.azure.cn", []string{".monitor.azure.cn", ".applicationinsights.azure.cn"}},
}

func (c *azureCloud) has(host string) bool {
	host = strings.ToLower(strings.TrimRight(host, "."))
	for _, s := range c.suffixes {
		if strings.HasSuffix(host, s) {
			return true
		}
	}
	return false
}

// cloudOf returns the public cloud for hosts that are in none.
func cloudOf(host string) *azureCloud {
	for i := range clouds {
		if clouds[i].has(host) {
			return &clouds[i]
		}
	}
	return &clouds[0]
}

const (
	maxRedirects = 10
	// redirectMemory is how long a redirect is remembered when it does not say.
	redirectMemory = 12 * time.Hour
)

// route is where to post: the configured place, or where ingestion said to go instead. Safe for concurrent use.
type route struct {
	home *url.URL
	// guarded is set when requests carry credentials: an Azure token, an auth extension's, or headers that the
	// user has set.
	guarded bool
	now     func() time.Time

	mu     sync.Mutex
	moved  *url.URL
	expiry time.Time
}

// current returns the place to post to and whether it is a remembered redirect.
func (r *route) current() (u *url.URL, moved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moved != nil && r.now().Before(r.expiry) {
		return r.moved, true
	}
	r.moved = nil
	return r.home, false
}

// remember keeps a redirect for as long as it says it holds.
func (r *route) remember(u *url.URL, header http.Header) {
	hold := redirectMemory
	for directive := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		directive = strings.ToLower(strings.TrimSpace(directive))
		if directive == "no-store" || directive == "no-cache" {
			hold = 0
		}
		if age, ok := strings.CutPrefix(directive, "max-age="); ok {
			if seconds, err := strconv.ParseInt(age, 10, 32); err == nil && seconds >= 0 {
				hold = time.Duration(seconds) * time.Second
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if hold > 0 {
		r.moved, r.expiry = u, r.now().Add(hold)
	}
}

// forget drops a redirect that did not work, unless another one has taken its place.
func (r *route) forget(u *url.URL) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moved == u {
		r.moved = nil
	}
}

// follow decides on the Location of an answer from from. Its errors say nothing of the place but its host.
func (r *route) follow(from *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, errors.New("redirect without a Location")
	}
	ref, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("redirect to something that is not a URL")
	}
	to := from.ResolveReference(ref)
	switch {
	case to.User != nil:
		return nil, errors.New("redirect to a URL with a user in it")
	case to.Scheme != "https" && to.Scheme != "http" || to.Hostname() == "":
		return nil, errors.New("redirect to something that is not an http or https URL")
	case to.Scheme == "http" && (from.Scheme == "https" || r.home.Scheme == "https"):
		return nil, errors.New("redirect from https to http")
	}
	if r.guarded && !sameOwner(r.home, to) {
		return nil, errors.New("redirect with credentials to a host outside the configured one's Azure cloud: " + to.Hostname())
	}
	if strings.Trim(to.Path, "/") == "" {
		to.Path, to.RawPath = trackPath, ""
	}
	to.Fragment = ""
	return to, nil
}

// sameOwner tells whether credentials for a may go to b: the same host and port, or two hosts of one Azure cloud
// on the port of https.
func sameOwner(a, b *url.URL) bool {
	hostA, hostB := strings.ToLower(strings.TrimRight(a.Hostname(), ".")), strings.ToLower(strings.TrimRight(b.Hostname(), "."))
	if hostA == hostB && portOf(a) == portOf(b) {
		return true
	}
	if portOf(a) != "443" || portOf(b) != "443" {
		return false
	}
	for i := range clouds {
		if clouds[i].has(hostA) && clouds[i].has(hostB) {
			return true
		}
	}
	return false
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
