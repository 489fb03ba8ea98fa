// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

const often = 20 * time.Millisecond

// lost is what the log says, once, when pods cannot be watched.
const lost = "pods cannot be watched"

func awaitLost(t *testing.T, c *collector.Collector, times int) {
	t.Helper()
	harness.AwaitFor(t, time.Minute, "the loss in the log", func() error {
		if n := strings.Count(c.Stderr.String(), lost); n < times {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
}

// The collector is there before the API server, and after it.
func TestKubernetesServerAway(t *testing.T) {
	t.Parallel()
	s := startShop(t, "gateway")
	old := s.pod(t, "old", "node-1", "127.0.0.21", 1)
	backend, env := backendOf(t)
	config := s.config(t, "gateway", "otlp", env, s.account)
	s.KillAPIServer()

	c := collector.Start(t, config)
	f := startTraffic(t, s, c, backend, often)
	oldAddress, oldUID := f.add(t, old, byAddress), f.add(t, old, byUID)
	f.awaitBare(t, "telemetry before the API server", oldAddress, oldUID)
	awaitLost(t, c, 1)
	s.StartAPIServer(t)
	f.await(t, "the pod, since the API server is there", oldAddress, oldUID)

	s.KillAPIServer()
	awaitLost(t, c, 2)
	f.await(t, "what was known, while the API server is away", oldAddress, oldUID)
	s.StartAPIServer(t)
	fresh := s.pod(t, "fresh", "node-2", "127.0.0.22", 2)
	f.await(t, "a new pod, since the API server is back", f.add(t, fresh, byAddress), f.add(t, fresh, byUID))
	f.await(t, "the old pod", oldAddress, oldUID)
	f.settle(t)
	f.right(t)
	c.Stop(t)
}

// The watch is cut, pods come and go meanwhile, one of them with the address of another,
// and etcd forgets how. The collector is to trust no address that it hears nothing of.
func TestKubernetesCompacted(t *testing.T) {
	t.Parallel()
	s := startShop(t, "gateway")
	link := s.Link(t)
	old := s.pod(t, "old", "node-1", "127.0.0.31", 1)
	gone := s.pod(t, "gone", "node-1", "127.0.0.32", 2)
	backend, env := backendOf(t)
	token, _ := s.Token(t, s.account.Namespace, s.account.Name)
	config := shopConfig(t, "gateway", "otlp", env, s.Kubeconfig(t, link.Address, token))
	config.Overlay += "\nprocessors::k8senrich/pod::pod_association::max_staleness: 0s"
	c := collector.Start(t, config)
	f := startTraffic(t, s, c, backend, often)
	oldAddress, oldUID, goneUID := f.add(t, old, byAddress), f.add(t, old, byUID), f.add(t, gone, byUID)
	f.await(t, "both pods", oldAddress, oldUID, goneUID)

	link.Cut()
	awaitLost(t, c, 1)
	f.await(t, "what was known", oldUID, goneUID)
	f.awaitBare(t, "what may have changed", oldAddress)
	fresh := s.pod(t, "fresh", "node-2", "127.0.0.33", 3)
	s.DeletePod(t, gone)
	heir := s.pod(t, "heir", "node-2", "127.0.0.32", 5)
	var streams []*stream
	for _, pod := range []*corev1.Pod{fresh, heir} {
		streams = append(streams, f.add(t, pod, byAddress), f.add(t, pod, byUID))
	}
	f.awaitBare(t, "what nobody tells of", streams...)
	s.CompactEtcd(t)
	s.KillAPIServer()
	s.StartAPIServer(t) // one that does not remember what etcd forgot
	link.Mend(t)
	f.await(t, "pods of that time", streams...)
	f.await(t, "the old pod", oldAddress, oldUID)
	late := s.pod(t, "late", "node-1", "127.0.0.34", 4)
	f.await(t, "a pod after that", f.add(t, late, byAddress), f.add(t, late, byUID))
	f.settle(t)
	f.right(t)
	c.Stop(t)
}

// The token expires, and another is put in its place.
func TestKubernetesTokenReplaced(t *testing.T) {
	t.Parallel()
	s := startShop(t, "gateway")
	link := s.Link(t)
	first, revoke := s.Token(t, s.account.Namespace, s.account.Name)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(first), 0o600))
	old := s.pod(t, "old", "node-1", "127.0.0.41", 1)
	backend, env := backendOf(t)
	c := collector.Start(t, shopConfig(t, "gateway", "otlp", env, s.KubeconfigWithTokenFile(t, link.Address, file)))
	f := startTraffic(t, s, c, backend, often)
	streams := []*stream{f.add(t, old, byAddress), f.add(t, old, byUID)}
	f.await(t, "the pod", streams...)

	revoke()
	link.Cut() // or the watches would go on for minutes with the token they began with
	s.KillAPIServer()
	s.StartAPIServer(t) // one that does not remember that the token was good
	link.Mend(t)
	harness.AwaitFor(t, time.Minute, "the refusal of both", func() error {
		said := c.Stderr.String()
		if !strings.Contains(said, `"error": "Unauthorized"`) || !strings.Contains(said, "reflector") || !strings.Contains(said, "Unauthorized") {
			return errors.New("not yet")
		}
		return nil
	})
	f.await(t, "what was known", streams...)
	second, _ := s.Token(t, s.account.Namespace, s.account.Name)
	require.NoError(t, os.WriteFile(file+".new", []byte(second), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
	fresh := s.pod(t, "fresh", "node-2", "127.0.0.42", 2)
	f.await(t, "a new pod", f.add(t, fresh, byAddress), f.add(t, fresh, byUID))
	f.settle(t)
	f.right(t)
	c.Stop(t)
}

// All of a thousand pods are replaced by others, with other addresses, as in a
// rolling update, while all that are there send.
func TestKubernetesAllPodsReplaced(t *testing.T) {
	t.Parallel()
	const pods = 1000
	s := startShop(t, "gateway")
	create := func(generation, i int) *corev1.Pod {
		n := generation*pods + i
		return s.pod(t, fmt.Sprintf("web-%d", n), "node-1", fmt.Sprintf("127.1.%d.%d", n/200, 1+n%200), n)
	}
	now := make([]*corev1.Pod, pods)
	for i := range now {
		now[i] = create(0, i)
	}
	backend, env := backendOf(t)
	c := collector.Start(t, s.config(t, "gateway", "otlp", env, s.account))
	c.AwaitMetric(t, pods, "otelcol_processor_k8senrich_pods")
	f := startTraffic(t, s, c, backend, 500*time.Millisecond)
	var streams []*stream
	add := func(i int) {
		streams = append(streams, f.add(t, now[i], byUID))
		if i%10 == 0 {
			streams = append(streams, f.add(t, now[i], byIP))
		}
		if i%100 == 0 {
			streams = append(streams, f.add(t, now[i], byAddress))
		}
	}
	for i := range now {
		add(i)
	}
	f.await(t, "all pods", streams...)
	streams = nil
	for i := range now {
		f.remove(now[i])
		s.DeletePod(t, now[i])
		now[i] = create(1, i)
		add(i)
	}
	f.await(t, "all pods that came after them", streams...)
	f.settle(t)
	f.right(t)
	c.Stop(t)
}

// A pod's address becomes another pod's. Telemetry is never taken for the other's,
// whether it says by UID or by its address which pod it is from.
func TestKubernetesAddressReused(t *testing.T) {
	t.Parallel()
	s := startShop(t, "gateway")
	first := s.pod(t, "first", "node-1", "127.0.0.51", 1)
	quiet := s.pod(t, "quiet", "node-1", "127.0.0.52", 2)
	waiting := s.pod(t, "waiting", "node-1", "", 3) // for its volumes, say
	job := s.pod(t, "job", "node-1", "127.0.0.53", 4)
	started := metav1.NewTime(job.CreationTimestamp.Add(10 * time.Second))
	job = s.status(t, job, func(status *corev1.PodStatus) { status.StartTime = &started })
	has := func(pod *corev1.Pod, ip string) *corev1.Pod {
		return s.status(t, pod, func(status *corev1.PodStatus) {
			status.PodIP, status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
		})
	}
	backend, env := backendOf(t)
	c := collector.Start(t, s.config(t, "gateway", "otlp", env, s.account))
	f := startTraffic(t, s, c, backend, often)
	ofFirst, ofQuiet, ofJob := f.add(t, first, byAddress), f.add(t, quiet, byAddress), f.add(t, job, byAddress)
	f.await(t, "all pods", ofFirst, ofQuiet, ofJob)

	// One pod goes and another has its address.
	s.DeletePod(t, first)
	f.awaitBare(t, "the end of the first", ofFirst)
	f.remove(first)
	second := s.pod(t, "second", "node-2", "127.0.0.51", 5)
	ofSecond := f.add(t, second, byAddress)
	f.await(t, "the second", ofSecond)
	f.await(t, "what had waited in a queue", f.add(t, first, byUID))

	// One pod goes, and another sends before the API server knows that it has the
	// address: kubelets tell later.
	s.DeletePod(t, quiet)
	f.awaitBare(t, "the end of the quiet one", ofQuiet)
	f.remove(quiet)
	early := s.pod(t, "early", "node-2", "", 6)
	told := early.DeepCopy()
	told.Status.PodIP = "127.0.0.52"
	ofEarly := f.add(t, told, byAddress)
	f.awaitBare(t, "what sends early", ofEarly)
	has(early, "127.0.0.52")
	f.await(t, "the early one", ofEarly)

	// A pod has ended and stays in the API server with its address, which now
	// belongs to a pod that is older.
	s.status(t, job, func(status *corev1.PodStatus) { status.Phase = corev1.PodSucceeded })
	f.awaitBare(t, "the end of the job", ofJob)
	f.remove(job)
	waiting = has(waiting, "127.0.0.53")
	ofWaiting := f.add(t, waiting, byAddress)
	f.await(t, "the older one", ofWaiting)

	// Two pods have one address, as when a node is away and its pods are not deleted
	// yet: it is neither's, until one is.
	rival := s.pod(t, "rival", "node-2", "127.0.0.53", 7)
	f.awaitBare(t, "two with one address", ofWaiting)
	s.DeletePod(t, rival)
	f.await(t, "one of two", ofWaiting)
	f.settle(t)
	f.right(t)

	// What an agent did not know waited in its queue, and the address is another's now.
	conn := (&from{ip: "127.0.0.1"}).connect(t, c.GRPC(t))
	for ended, want := range map[time.Time]map[string]any{
		second.CreationTimestamp.Add(-time.Second): {"k8s.pod.ip": second.Status.PodIP},
		second.CreationTimestamp.Add(time.Second):  s.attributes(second),
	} {
		v := newVisit(map[string]any{"k8s.pod.ip": second.Status.PodIP})
		v.traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetEndTimestamp(pcommon.NewTimestampFromTime(ended))
		require.NoError(t, export(t.Context(), conn, v.traces))
		assert.Equal(t, v.enriched(want), awaitResource(t, backend, v))
	}
	c.Stop(t)
}

// Where there is no cluster at all, telemetry passes when the config says that there
// is none, and the log has it once, for all spans of all pipelines.
func TestKubernetesNowhere(t *testing.T) {
	t.Parallel()
	backend, env := backendOf(t)
	for _, m := range []mode{"agent", "gateway"} {
		t.Run(string(m), func(t *testing.T) {
			config := m.config(t, "otlp", env)
			delete(config.Env, "KUBECONFIG")
			// k8s_attributes has an auth_type none too, but asks for the address of an API
			// server even so, and does not come back from its start when there is none.
			config.Overlay = "processors::k8senrich/pod::pod_association::auth_type: none\nprocessors::k8s_attributes::passthrough: true\n" +
				"processors::k8senrich::container_resources::auth_type: none"
			c := collector.Start(t, config)
			for range 3 {
				s := telemetry.NewShop()
				send(t, c, s)
				harness.Await(t, "spans", func() error { return atOTLP(backend, s) })
			}
			assert.Equal(t, 1, strings.Count(c.Stderr.String(), "no cluster here; telemetry passes without what is known of pods"))
			c.Stop(t)
		})
	}
}

// Where credentials are asked for and there are none, the collector ends and says
// what to do. (k8senrich starts before k8s_attributes, which would hang.)
func TestKubernetesNoCredentials(t *testing.T) {
	t.Parallel()
	for _, m := range []mode{"agent", "gateway"} {
		for auth, says := range map[string]string{
			"serviceAccount": `no cluster for "serviceAccount" here: unable to load in-cluster configuration`,
			"kubeConfig":     `no cluster for "kubeConfig" here: invalid configuration`,
		} {
			t.Run(string(m)+" "+auth, func(t *testing.T) {
				config := m.config(t, "console", nil)
				delete(config.Env, "KUBECONFIG")
				config.Overlay = fmt.Sprintf("processors::k8senrich/pod::pod_association::auth_type: %[1]s\nprocessors::k8s_attributes::auth_type: %[1]s\n"+
					"processors::k8senrich::container_resources::auth_type: %[1]s\n"+
					"service::extensions: [file_storage, refusals]\nservice::telemetry::metrics::level: none", auth) // nothing listens
				p := collector.Run(t, "", config)
				assert.Equal(t, 1, p.ExitCode())
				assert.Contains(t, p.Stderr.String(), says)
			})
		}
	}
}
