// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
)

// right is one verb on one resource.
type right struct{ verb, resource string }

// The rights that deploy/ grants. list is for API servers that do not stream lists.
var (
	listPods, watchPods   = right{"list", "pods"}, right{"watch", "pods"}
	listNodes, watchNodes = right{"list", "nodes"}, right{"watch", "nodes"}
)

// rightsOf are those that a role grants.
func rightsOf(role *rbacv1.ClusterRole) []right {
	var rights []right
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				rights = append(rights, right{verb, resource})
			}
		}
	}
	return rights
}

// less takes rights away.
func less(rights []right) func(*rbacv1.ClusterRole) {
	return func(role *rbacv1.ClusterRole) {
		for i := range role.Rules {
			role.Rules[i].Verbs = slices.DeleteFunc(role.Rules[i].Verbs, func(verb string) bool {
				return slices.Contains(rights, right{verb, role.Rules[i].Resources[0]})
			})
		}
		role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return len(rule.Verbs) == 0 })
	}
}

// lack is what a collector with fewer rights has to do without.
type lack struct {
	rights  []right
	refused string                                  // the resource that it is refused, if any
	left    func(all map[string]any) map[string]any // what telemetry gets
}

// The collector makes use of all that deploy/ grants it, asks for nothing else, and
// without any of it something is missing.
//
// Where there is no watch k8s_attributes lists again and again, which it should not:
// each time it gets all pods of a cluster, and what is new waits for the next
// time. k8senrich does not, so nobody knows whose an address is then.
func TestKubernetesRights(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		flag  string
		asks  []right
		lacks map[string]lack
	}{
		{
			"WatchList=true", []right{watchNodes, watchPods}, map[string]lack{
				"no rule for pods":  {[]right{listPods, watchPods}, "pods", noPods},
				"no rule for nodes": {[]right{listNodes, watchNodes}, "nodes", noNodes},
				"no watch of pods":  {[]right{watchPods}, "pods", noPods},
				"no watch of nodes": {[]right{watchNodes}, "nodes", maps.Clone[map[string]any]},
				"no list":           {[]right{listPods, listNodes}, "", maps.Clone[map[string]any]},
			},
		},
		{
			"WatchList=false", []right{listNodes, listPods, watchNodes, watchPods}, map[string]lack{
				"no list of pods":  {[]right{listPods}, "pods", noPods},
				"no list of nodes": {[]right{listNodes}, "nodes", noNodes},
			},
		},
	} {
		t.Run(tc.flag, func(t *testing.T) {
			t.Parallel()
			audit := newAudit(t)
			s := startShop(t, "gateway", append(audit.flags, "--feature-gates="+tc.flag)...)
			pod := s.pod(t, "web-1", "node-1", "127.0.0.61", 1)
			all := s.attributes(pod)
			backend, env := backendOf(t)
			for _, m := range []mode{"agent", "gateway"} {
				t.Run(string(m), func(t *testing.T) {
					start := func(account *corev1.ServiceAccount) *collector.Collector {
						config := s.config(t, m, "otlp", env, account)
						config.Overlay += "\nexporters::otlp_grpc::sending_queue::batch::flush_timeout: 10ms"
						return collector.Start(t, config)
					}
					var granted []right
					account := s.grant(t, m, "-as-it-is", func(role *rbacv1.ClusterRole) { granted = rightsOf(role) })
					assert.ElementsMatch(t, []right{listPods, watchPods, listNodes, watchNodes}, granted)
					s.awaitGranted(t, account, granted)
					complete := start(account)
					lesser := map[string]*collector.Collector{}
					for name, lack := range tc.lacks {
						account := s.grant(t, m, "-"+strings.ReplaceAll(name, " ", "-"), less(lack.rights))
						s.awaitGranted(t, account, slices.DeleteFunc(slices.Clone(granted), func(r right) bool { return slices.Contains(lack.rights, r) }))
						lesser[name] = start(account)
					}
					awaitEnriched(t, complete, backend, pod.Status.PodIP, all)
					for name, lack := range tc.lacks {
						t.Run(name, func(t *testing.T) {
							if lack.refused != "" {
								awaitForbidden(t, lesser[name], lack.refused)
							}
							awaitEnriched(t, lesser[name], backend, pod.Status.PodIP, lack.left(all))
							if lack.refused == "" {
								assert.NotContains(t, lesser[name].Stderr.String(), "forbidden")
							}
						})
					}
					assert.NotContains(t, complete.Stderr.String(), "forbidden")
					assert.ElementsMatch(t, tc.asks, audit.asked(t, account, map[mode]string{"agent": "node-1"}[m]))
				})
			}
		})
	}
}

// noPods is what is left when nothing is known of pods: the address that the
// connection has.
func noPods(all map[string]any) map[string]any {
	return map[string]any{"k8s.pod.ip": all["k8s.pod.ip"]}
}

// noNodes is what is left when nothing is known of nodes.
func noNodes(all map[string]any) map[string]any {
	return without(all, "cloud.availability_zone", "cloud.region", "host.type", "k8s.node.uid")
}

// awaitGranted waits until the API server acts by the role of an account.
func (s *shop) awaitGranted(t *testing.T, account *corev1.ServiceAccount, rights []right) {
	t.Helper()
	harness.Await(t, "the role", func() error {
		for _, r := range rights {
			review, err := s.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User:               userOf(account),
					ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: r.verb, Resource: r.resource},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			if !review.Status.Allowed {
				return fmt.Errorf("%v is not allowed", r)
			}
		}
		return nil
	})
}

func userOf(account *corev1.ServiceAccount) string {
	return "system:serviceaccount:" + account.Namespace + ":" + account.Name
}

// awaitForbidden waits until both processors, if both need it, have been told so.
func awaitForbidden(t *testing.T, c *collector.Collector, resource string) {
	t.Helper()
	forbidden := regexp.MustCompile(`reflector.*` + resource + ` .*is forbidden`)
	harness.AwaitFor(t, time.Minute, "the refusal", func() error {
		said := c.Stderr.String()
		if !forbidden.MatchString(said) {
			return errors.New("k8s_attributes says nothing of it")
		}
		if resource == "pods" && !strings.Contains(said, "list and watch on pods must be granted") {
			return errors.New("k8senrich says nothing of it")
		}
		return nil
	})
}

// awaitEnriched sends from an address until what arrives has this, and no more, of Kubernetes.
func awaitEnriched(t *testing.T, c *collector.Collector, backend *otlpserver.Server, ip string, k8s map[string]any) {
	t.Helper()
	conn := (&from{ip: ip}).connect(t, c.GRPC(t))
	harness.AwaitFor(t, time.Minute, "telemetry of "+ip, func() error {
		v := newVisit(nil)
		if err := export(t.Context(), conn, v.traces); err != nil {
			return harness.GiveUp(err)
		}
		if want, got := v.enriched(k8s), awaitResource(t, backend, v); !reflect.DeepEqual(want, got) {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
}

// awaitResource waits for a visit, and returns what its resource came with.
func awaitResource(t *testing.T, backend *otlpserver.Server, v *visit) (got map[string]any) {
	t.Helper()
	harness.Await(t, "the span", func() error {
		for _, td := range backend.Traces.AllTraces() {
			for span, rs := range otlpserver.Spans(td) {
				if span.SpanID() == v.span {
					got = rs.Resource().Attributes().AsRaw()
					return nil
				}
			}
		}
		return errors.New("has not come")
	})
	return got
}

// audit is the API server's own account of what ServiceAccounts asked it for.
type audit struct {
	flags []string
	log   string
}

func newAudit(t *testing.T) *audit {
	t.Helper()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	require.NoError(t, os.WriteFile(policy, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, userGroups: ["system:serviceaccounts"]}]
`), 0o600))
	a := &audit{log: filepath.Join(dir, "audit.log")}
	a.flags = []string{"--audit-policy-file=" + policy, "--audit-log-path=" + a.log, "--audit-log-mode=blocking"}
	return a
}

// asked returns what an account has asked for. With a node, it has asked only for
// what is of that node.
func (a *audit) asked(t *testing.T, account *corev1.ServiceAccount, node string) []right {
	t.Helper()
	raw, err := os.ReadFile(a.log)
	require.NoError(t, err)
	var asked []right
	for line := range bytes.Lines(raw) {
		var event struct {
			Verb       string
			RequestURI string
			User       struct{ Username string }
			ObjectRef  *struct{ Resource, Subresource, APIGroup string }
		}
		require.NoError(t, json.Unmarshal(line, &event))
		if event.User.Username != userOf(account) {
			continue
		}
		require.NotNil(t, event.ObjectRef, "%s %s", event.Verb, event.RequestURI)
		require.Empty(t, event.ObjectRef.Subresource+event.ObjectRef.APIGroup, event.RequestURI)
		if r := (right{event.Verb, event.ObjectRef.Resource}); !slices.Contains(asked, r) {
			asked = append(asked, r)
		}
		uri, err := url.ParseRequestURI(event.RequestURI)
		require.NoError(t, err)
		if node != "" {
			selector := map[string]string{"pods": "spec.nodeName=", "nodes": "metadata.name="}[event.ObjectRef.Resource] + node
			assert.Contains(t, uri.Query().Get("fieldSelector"), selector)
		}
	}
	return asked
}
