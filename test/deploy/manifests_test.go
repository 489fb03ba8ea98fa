// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// apply applies a kustomization as users do, and returns what kubectl warns of.
func apply(t *testing.T, c *kubetest.Cluster, dir string) string {
	t.Helper()
	warnings, err := tryApply(t, c, dir)
	require.NoError(t, err, warnings)
	return warnings
}

func tryApply(t *testing.T, c *kubetest.Cluster, dir string) (says string, err error) {
	t.Helper()
	_, says, err = kubectl(t, "--kubeconfig", c.Kubeconfig(t, c.Address, "admin"),
		"apply", "--server-side", "--validate=strict", "-k", dir)
	return says, err
}

// appNamespace makes the namespace of the app, with Pod Security "restricted".
func appNamespace(t *testing.T, c *kubetest.Cluster) {
	t.Helper()
	const name = "shop"
	c.Namespace(t, name)
	_, err := c.Client.CoreV1().Namespaces().Update(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{
			"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
		},
	}}, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// agentWarning is all in which the agent's pod is not as "restricted" wants it.
const agentWarning = `Warning: would violate PodSecurity "restricted:latest": ` +
	`hostPort (container "collector" uses hostPorts 4317, 4318), ` +
	`unrestricted capabilities (container "own-queue" must not include "CHOWN" in securityContext.capabilities.add), ` +
	`restricted volume types (volume "queue" uses restricted volume type "hostPath"), ` +
	`runAsNonRoot != true (container "own-queue" must not set securityContext.runAsNonRoot=false), ` +
	`runAsUser=0 (container "own-queue" must not set runAsUser=0)
`

// applyQuietly applies a shape in front of a backend. Pod Security says nothing
// against it but what the agent cannot do without.
func applyQuietly(t *testing.T, c *kubetest.Cluster, s shape, backend string) {
	t.Helper()
	warnings := apply(t, c, kustomization(t, s, backend))
	if s == agent || s == tiers {
		assert.Equal(t, agentWarning, warnings)
	} else {
		assert.Empty(t, warnings)
	}
}

// A real API server takes every shape, takes it again with another backend and
// once more with the first, and admits the pods that their controllers would
// make. [TestCarries] does the same with every backend.
func TestApply(t *testing.T) {
	c := kubetest.Start(t)
	appNamespace(t, c)
	for _, s := range shapes {
		t.Run(string(s), func(t *testing.T) {
			for _, backend := range []string{"all", "console", "all"} {
				applyQuietly(t, c, s, backend)
			}
			found := workloads(t, rendered(t, s, "all"))
			assert.ElementsMatch(t, s.components(), names(found))
			for _, w := range found {
				c.ServiceAccount(t, w.Namespace, "default") // a controller's work
				pod, err := c.Client.CoreV1().Pods(w.Namespace).Create(t.Context(), w.live(t, c).pod(0), metav1.CreateOptions{})
				require.NoError(t, err)
				for _, volume := range pod.Spec.Volumes {
					if w.template.Spec.AutomountServiceAccountToken != nil {
						assert.Nil(t, volume.Projected, "%s is given a token", w.Name)
					}
				}
				c.DeletePod(t, pod)
			}
		})
	}
}

// Without --server-side it is no other.
func TestApplyByClient(t *testing.T) {
	c := kubetest.Start(t)
	appNamespace(t, c)
	for _, s := range shapes {
		for range 2 {
			_, says, err := kubectl(t, "--kubeconfig", c.Kubeconfig(t, c.Address, "admin"), "apply", "-k", kustomization(t, s, "all"))
			require.NoError(t, err, says)
		}
	}
}

// The API server that takes these manifests would refuse what is wrong in them.
func TestApplyRefuses(t *testing.T) {
	c := kubetest.Start(t)
	dir := kustomization(t, agent, "console")
	apply(t, c, dir)
	apply(t, c, kustomization(t, gateway, "console"))

	pod := workloads(t, rendered(t, agent, "console"))["agent"].pod(0)
	pod.Namespace, pod.Spec.ServiceAccountName = "otelcol-custom", "otelcol-custom-gateway"
	_, err := c.Client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	for _, reason := range []string{`violates PodSecurity "restricted:latest"`, "hostPath", "hostPort", "CHOWN"} {
		require.ErrorContains(t, err, reason)
	}

	file := filepath.Join(dir, "kustomization.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(text, []byte(`
patches:
  - target: {kind: DaemonSet}
    patch: |
      - {op: add, path: /spec/template/spec/terminationGracePeriod, value: 60}
`)...), 0o600))
	says, err := tryApply(t, c, dir)
	require.Error(t, err)
	assert.Contains(t, says, ".spec.template.spec.terminationGracePeriod: field not declared in schema")
}

// What the autoscaler has set is not set back by applying the same again.
func TestApplyKeepsReplicas(t *testing.T) {
	c := kubetest.Start(t)
	for s, name := range map[shape]string{gateway: "otelcol-custom-gateway", tiers: "otelcol-custom-front"} {
		dir := kustomization(t, s, "console")
		apply(t, c, dir)
		sets := c.Client.AppsV1().StatefulSets("otelcol-custom")
		_, err := sets.UpdateScale(t.Context(), name, &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "otelcol-custom"},
			Spec:       autoscalingv1.ScaleSpec{Replicas: 5},
		}, metav1.UpdateOptions{FieldManager: "autoscaler"})
		require.NoError(t, err)
		apply(t, c, dir)
		set, err := sets.Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, int32(5), *set.Spec.Replicas)
	}
}

// Pods run the files of configs/ as they are. What is added is the pod's own
// metrics, and in the tiers what makes them tiers.
func TestOneSource(t *testing.T) {
	files := map[string]string{} // by the key that configs/kustomization.yaml gives them
	configs := os.DirFS(collector.Configs(t))
	require.NoError(t, fs.WalkDir(configs, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(configs, path)
		files[strings.ReplaceAll(path, "/", "-")] = string(text)
		return err
	}))
	needed := []string{"agent.yaml", "gateway.yaml"}
	for _, backend := range backends(t) {
		needed = append(needed, "backend-"+backend+".yaml")
	}
	// What a file beside those of configs/ may say.
	mayAdd := map[string][]string{
		"pod.yaml":   {"service::telemetry::metrics::readers"},
		"front.yaml": {"exporters::load_balancing::", "service::pipelines::"},
		"sampling.yaml": {
			"processors::tail_sampling::",
			"service::pipelines::traces::receivers", "service::pipelines::traces::processors",
			"service::pipelines::metrics::processors", "service::pipelines::logs::processors",
		},
	}
	args := map[string][]string{
		"agent":    {"agent.yaml", "backend-$(BACKEND).yaml", "pod.yaml"},
		"gateway":  {"gateway.yaml", "backend-$(BACKEND).yaml", "pod.yaml"},
		"front":    {"gateway.yaml", "front.yaml", "pod.yaml"},
		"sampling": {"gateway.yaml", "backend-$(BACKEND).yaml", "sampling.yaml", "pod.yaml"},
		// The image's own files; the backends have a folder there.
		"sidecar": {"sidecar.yaml", "backend/$(BACKEND).yaml"},
	}
	each(t, func(t *testing.T, s shape, backend string) {
		objects := rendered(t, s, backend)
		for _, configMap := range of[*corev1.ConfigMap](objects) {
			added := map[string]string{}
			for name, text := range configMap.Data {
				if file, ok := files[name]; ok {
					assert.Equal(t, file, text)
				} else {
					added[name] = text
				}
			}
			for _, name := range needed {
				assert.Contains(t, configMap.Data, name)
			}
			if configMap.Namespace == "otelcol-custom" && s == tiers {
				assert.Equal(t, []string{"front.yaml", "pod.yaml", "sampling.yaml"}, names(added))
			} else {
				assert.Equal(t, []string{"pod.yaml"}, names(added))
			}
			for name, text := range added {
				retrieved, err := confmap.NewRetrievedFromYAML([]byte(text))
				require.NoError(t, err)
				conf, err := retrieved.AsConf()
				require.NoError(t, err)
				require.NotEmpty(t, conf.AllKeys())
				for _, key := range conf.AllKeys() {
					assert.True(t, slices.ContainsFunc(mayAdd[name], func(prefix string) bool {
						return strings.HasPrefix(key, prefix)
					}), "%s sets %s", name, key)
				}
			}
		}
		for component, w := range workloads(t, objects) {
			c := collectorOf(t, &w.template.Spec)
			var named []string
			for _, arg := range c.Args {
				file, found := strings.CutPrefix(arg, "--config=/etc/otelcol-custom/")
				assert.True(t, found, "%s has the argument %s", component, arg)
				named = append(named, file)
			}
			assert.Equal(t, args[component], named)
			for _, e := range c.Env {
				if e.Name == "BACKEND" {
					want := backend
					if s == tiers && component == "agent" {
						want = "otlp"
					}
					assert.Equal(t, want, e.Value)
				}
			}
		}
	})
}

// The agent is allowed what the gateway is, of which a test in
// processor/k8senrich takes each rule away; all others are allowed nothing.
func TestAccounts(t *testing.T) {
	var rules [][]rbacv1.PolicyRule
	for _, s := range shapes {
		objects := rendered(t, s, "console")
		bound := map[string]bool{}
		for _, role := range of[*rbacv1.ClusterRole](objects) {
			rules = append(rules, role.Rules)
		}
		for _, binding := range of[*rbacv1.ClusterRoleBinding](objects) {
			require.Len(t, binding.Subjects, 1)
			subject := binding.Subjects[0]
			assert.Equal(t, subject.Name, binding.RoleRef.Name)
			bound[subject.Namespace+"/"+subject.Name] = true
		}
		for component, w := range workloads(t, objects) {
			spec := w.template.Spec
			account := w.Namespace + "/" + spec.ServiceAccountName
			needs := component == "agent" || component == "gateway"
			assert.Equal(t, needs, bound[account], component)
			delete(bound, account)
			if !needs {
				require.NotNil(t, spec.AutomountServiceAccountToken, component)
				assert.False(t, *spec.AutomountServiceAccountToken, component)
			}
		}
		assert.Empty(t, bound, "accounts that no pod has")
		assert.Empty(t, of[*rbacv1.Role](objects))
		assert.Empty(t, of[*rbacv1.RoleBinding](objects))
	}
	require.Len(t, rules, 3) // agent, gateway, the agent of the tiers
	assert.Equal(t, rules[0], rules[1])
	assert.Equal(t, rules[0], rules[2])
}

// collectorEnd is the longest that a collector takes to end, as the tests of
// test/e2e hold it to.
const collectorEnd = 25 * time.Second

// Limits, GOMEMLIMIT, memory_limiter, probes and times agree in every pod.
func TestPods(t *testing.T) {
	for _, s := range shapes {
		for component, w := range workloads(t, rendered(t, s, "all")) {
			t.Run(string(s)+" "+component, func(t *testing.T) {
				spec := w.template.Spec
				c := collectorOf(t, &spec)
				for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
					if !strings.HasPrefix(container.Image, "otelcol-custom") {
						continue // the app's
					}
					assert.Equal(t, "otelcol-custom:dev", container.Image)
					for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
						assert.NotZero(t, container.Resources.Requests[name], "%s of %s", name, container.Name)
						assert.NotZero(t, container.Resources.Limits[name], "%s of %s", name, container.Name)
					}
					sc := container.SecurityContext
					assert.True(t, *sc.ReadOnlyRootFilesystem)
					assert.False(t, *sc.AllowPrivilegeEscalation)
					assert.Equal(t, []corev1.Capability{"ALL"}, sc.Capabilities.Drop)
				}
				env := map[string]string{}
				for _, e := range c.Env {
					env[e.Name] = e.Value
				}
				// As Go writes it, as Kubernetes reads it; 80 % as memory_limiter's limit_percentage.
				limit := resource.MustParse(strings.TrimSuffix(env["GOMEMLIMIT"], "B"))
				assert.InDelta(t, 0.8*float64(c.Resources.Limits.Memory().Value()), limit.Value(), 1<<20)
				for _, file := range []string{"agent.yaml", "gateway.yaml", "sidecar.yaml"} {
					text, err := os.ReadFile(filepath.Join(collector.Configs(t), file))
					require.NoError(t, err)
					assert.Regexp(t, `(?m)^    limit_percentage: 80$`, string(text), file)
				}

				drain := c.Lifecycle.PreStop.Exec.Command
				require.Equal(t, []string{"/podhelper", "drain"}, drain[:2])
				grace := 30 * time.Second // Kubernetes' own
				if spec.TerminationGracePeriodSeconds != nil {
					grace = time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
				}
				timeout := drainTimeout(t, c)
				if component == "sidecar" {
					// The pod's time is the app's, and the collector's end comes after the app's.
					assert.Equal(t, 10*time.Second, timeout)
				} else {
					assert.Greater(t, grace, timeout+collectorEnd)
					assert.Contains(t, drain, "-endpoint=http://${POD_IP}:8888/metrics")
				}
				for name, probe := range map[string]*corev1.Probe{
					"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe,
				} {
					if component == "sidecar" && name != "liveness" {
						assert.Nil(t, probe, "%s probe: the app would wait for its telemetry", name)
						continue
					}
					require.NotNil(t, probe, name)
					assert.Equal(t, []string{"/podhelper", "healthy"}, probe.Exec.Command)
				}
				if component == "sidecar" {
					assert.Equal(t, corev1.ContainerRestartPolicyAlways, *c.RestartPolicy)
					assert.Same(t, c, &spec.InitContainers[0], "it starts before all others")
					for _, e := range c.Env {
						if ref := e.ValueFrom; ref != nil && ref.ResourceFieldRef != nil {
							assert.Equal(t, "checkout", ref.ResourceFieldRef.ContainerName, e.Name)
						}
					}
				}
			})
		}
	}
}

var timeoutFlag = regexp.MustCompile(`^-timeout=(.*)$`)

func drainTimeout(t *testing.T, c *corev1.Container) time.Duration {
	t.Helper()
	for _, arg := range c.Lifecycle.PreStop.Exec.Command {
		if m := timeoutFlag.FindStringSubmatch(arg); m != nil {
			timeout, err := time.ParseDuration(m[1])
			require.NoError(t, err)
			return timeout
		}
	}
	require.Fail(t, "drain has no -timeout")
	return 0
}

// Services, network policies, budgets and spread constraints mean the pods that
// they are for, and ports that those have.
func TestPorts(t *testing.T) {
	// What each listens on beside its metrics, by configs/.
	otlp := []string{"otlp-grpc", "otlp-http"}
	all := slices.Concat(otlp, []string{"jaeger-grpc", "jaeger-http", "jaeger-compact", "jaeger-binary", "zipkin"})
	want := map[string]struct{ listens, served []string }{
		"agent":    {all, all},
		"gateway":  {all, all},
		"front":    {otlp, otlp},
		"sampling": {otlp, []string{"otlp-grpc"}},
		"sidecar":  {},
	}
	for _, s := range shapes {
		objects := rendered(t, s, "all")
		found := workloads(t, objects)
		for component, w := range found {
			t.Run(string(s)+" "+component, func(t *testing.T) {
				template := labels.Set(w.template.Labels)
				selects := func(selector *metav1.LabelSelector) bool {
					x, err := metav1.LabelSelectorAsSelector(selector)
					require.NoError(t, err)
					return x.Matches(template)
				}
				assert.True(t, selects(w.selector))
				ports := map[string]corev1.ContainerPort{}
				for _, port := range collectorOf(t, &w.template.Spec).Ports {
					ports[port.Name] = port
				}
				listens := want[component].listens
				if component != "sidecar" {
					listens = append(slices.Clone(listens), "metrics")
				}
				assert.ElementsMatch(t, listens, names(ports))

				var served []string
				for _, service := range of[*corev1.Service](objects) {
					if !labels.SelectorFromSet(service.Spec.Selector).Matches(template) {
						continue
					}
					assert.Equal(t, w.Namespace, service.Namespace)
					for _, port := range service.Spec.Ports {
						target, ok := ports[port.TargetPort.StrVal]
						require.True(t, ok, "%s has no port %s", component, port.TargetPort.StrVal)
						assert.Equal(t, target.ContainerPort, port.Port)
						assert.Equal(t, protocol(&target.Protocol), protocol(&port.Protocol))
						served = append(served, port.TargetPort.StrVal)
					}
				}
				assert.ElementsMatch(t, want[component].served, served)
				if component == "sidecar" {
					return
				}

				policies := slices.DeleteFunc(of[*networkingv1.NetworkPolicy](objects), func(p *networkingv1.NetworkPolicy) bool {
					return p.Namespace != w.Namespace || !selects(&p.Spec.PodSelector)
				})
				require.Len(t, policies, 1)
				assert.ElementsMatch(t, []networkingv1.PolicyType{"Ingress", "Egress"}, policies[0].Spec.PolicyTypes)
				var letIn []string
				for _, rule := range policies[0].Spec.Ingress {
					require.NotEmpty(t, rule.Ports, "a rule without ports is for all ports")
					for _, port := range rule.Ports {
						target, ok := ports[port.Port.StrVal]
						require.True(t, ok, "%s has no port %s", component, port.Port)
						assert.Equal(t, protocol(&target.Protocol), protocol(port.Protocol))
						letIn = append(letIn, port.Port.StrVal)
					}
				}
				assert.ElementsMatch(t, append(slices.Clone(want[component].served), "metrics"), letIn)

				if component == "agent" {
					return
				}
				budgets := slices.DeleteFunc(of[*policyv1.PodDisruptionBudget](objects), func(b *policyv1.PodDisruptionBudget) bool {
					return b.Namespace != w.Namespace || !selects(b.Spec.Selector)
				})
				require.Len(t, budgets, 1)
				assert.Equal(t, intstr.FromInt32(1), *budgets[0].Spec.MaxUnavailable)
				require.Len(t, w.template.Spec.TopologySpreadConstraints, 2)
				for _, constraint := range w.template.Spec.TopologySpreadConstraints {
					assert.True(t, selects(constraint.LabelSelector))
				}
			})
		}
	}
}

// protocol is what the API server makes of one that is not named.
func protocol(p *corev1.Protocol) corev1.Protocol {
	if p == nil || *p == "" {
		return corev1.ProtocolTCP
	}
	return *p
}

// What leaves a pod is let out: DNS, the API server where there is use for it,
// and the port of each backend's usual address.
func TestEgress(t *testing.T) {
	backendPorts := map[string][]string{
		"console":       nil,
		"jaeger":        {"4317/TCP"},
		"jaeger-legacy": {"14250/TCP"},
		"azure":         {"443/TCP"},
		"azure-contrib": {"443/TCP"},
		"otlp":          {"4317/TCP", "443/TCP"},
		"openobserve":   {"5080/TCP", "443/TCP"},
		"all":           {"4317/TCP", "443/TCP", "5080/TCP"},
	}
	dns := []string{"53/UDP", "53/TCP"}
	api := []string{"443/TCP", "6443/TCP"}
	each(t, func(t *testing.T, s shape, backend string) {
		require.Contains(t, backendPorts, backend)
		want := map[string][]string{
			"agent":    slices.Concat(dns, api, backendPorts[backend]),
			"gateway":  slices.Concat(dns, api, backendPorts[backend]),
			"front":    slices.Concat(dns, []string{"otlp-grpc/TCP"}),
			"sampling": slices.Concat(dns, backendPorts[backend]),
		}
		if s == tiers {
			want["agent"] = slices.Concat(dns, api, []string{"4317/TCP"})
		}
		policies := of[*networkingv1.NetworkPolicy](rendered(t, s, backend))
		if s == sidecar {
			assert.Empty(t, policies, "the policy of an app's pod is the app's")
			return
		}
		assert.Len(t, policies, len(s.components()))
		for _, policy := range policies {
			var out []string
			for _, rule := range policy.Spec.Egress {
				require.NotEmpty(t, rule.Ports, "a rule without ports is for all ports")
				for _, port := range rule.Ports {
					out = append(out, port.Port.String()+"/"+string(protocol(port.Protocol)))
				}
			}
			assert.ElementsMatch(t, want[policy.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"]], out)
		}
	})
}

// The agent is on every node, and what it needs of the host is two ports and a
// directory. A pod that is replaced finds its queue again.
func TestAgentOnTheHost(t *testing.T) {
	objects := rendered(t, agent, "console")
	set := one[*appsv1.DaemonSet](t, objects)
	spec := set.Spec.Template.Spec
	assert.Equal(t, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, spec.Tolerations)
	assert.False(t, spec.HostNetwork || spec.HostPID || spec.HostIPC)
	hostPorts := map[int32]int32{}
	for _, port := range collectorOf(t, &spec).Ports {
		if port.HostPort != 0 {
			hostPorts[port.HostPort] = port.ContainerPort
		}
	}
	assert.Equal(t, map[int32]int32{4317: 4317, 4318: 4318}, hostPorts)
	var paths []string
	for _, volume := range spec.Volumes {
		if volume.HostPath != nil {
			paths = append(paths, volume.Name+" "+volume.HostPath.Path)
		}
	}
	assert.Equal(t, []string{"queue /var/lib/otelcol-custom"}, paths)
	service := one[*corev1.Service](t, objects)
	assert.Equal(t, corev1.ServiceInternalTrafficPolicyLocal, *service.Spec.InternalTrafficPolicy)
}

// one returns the only object of a type.
func one[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	found := of[T](objects)
	require.Len(t, found, 1)
	return found[0]
}

// Every kustomization of deploy/kustomize that is not a component renders by
// itself, and no folder is without one.
func TestEveryFolderRenders(t *testing.T) {
	root := filepath.Join(harness.Root(t), "deploy", "kustomize")
	rendered := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.Contains(string(text), "\nkind: Component\n") {
			assert.NotEmpty(t, render(t, filepath.Dir(path)), path)
			rendered++
		}
		return nil
	}))
	assert.GreaterOrEqual(t, rendered, 3+len(backends(t)))
}
