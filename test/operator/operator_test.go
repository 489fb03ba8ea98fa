// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

const module = "github.com/open-telemetry/opentelemetry-operator"

var (
	operatorServer = harness.Server{Name: "opentelemetry-operator", Folder: "test/servers/operator", Module: module, Package: module}
	kubectlCommand = harness.Server{
		Name: "kubectl", Folder: "test/servers/kubernetes",
		Module: "k8s.io/kubernetes", Package: "k8s.io/kubernetes/cmd/kubectl",
	}
)

// lab is an API server with the operator's CustomResourceDefinitions.
type lab struct {
	*kubetest.Cluster

	kubectlPath, kubeconfig string
}

func startLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{Cluster: kubetest.Start(t), kubectlPath: harness.Build(t, kubectlCommand)}
	l.kubeconfig = l.Kubeconfig(t, l.Address, "admin")
	crds, err := filepath.Glob(filepath.Join(moduleFolder(t), "config", "crd", "bases", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, crds)
	for _, file := range crds {
		l.kubectl(t, "apply", "--server-side", "-f", file)
	}
	l.kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	return l
}

// moduleFolder is where the operator's source lies.
func moduleFolder(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module) // if it is not here yet
	cmd.Dir = filepath.Join(harness.Root(t), "test", "servers", "operator")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	require.NoError(t, err)
	var downloaded struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &downloaded))
	require.NotEmpty(t, downloaded.Dir)
	return downloaded.Dir
}

func (l *lab) try(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), l.kubectlPath, args...)
	cmd.Env = []string{"KUBECONFIG=" + l.kubeconfig, "HOME=" + t.TempDir()}
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, &stderr)
	}
	return string(out), nil
}

func (l *lab) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := l.try(t, nil, args...)
	require.NoError(t, err)
	return out
}

// apply renders a folder and applies it, with each key known or else refused.
func (l *lab) apply(t *testing.T, dir string, more ...string) error {
	t.Helper()
	rendered := l.kubectl(t, "kustomize", dir)
	_, err := l.try(t, []byte(rendered), append([]string{"apply", "--server-side", "--validate=strict", "-f", "-"}, more...)...)
	return err
}

// variant is a kustomization over the folders of deploy/operator.
func variant(t *testing.T, resource string, components ...string) string {
	t.Helper()
	dir := t.TempDir()
	relative := func(name string) string { // kustomize takes no absolute paths
		path, err := filepath.Rel(dir, folder(t, name))
		require.NoError(t, err)
		return path
	}
	for i, c := range components {
		components[i] = relative(c)
	}
	text := fmt.Sprintf("resources: [%s]\ncomponents: [%s]\n", relative(resource), strings.Join(components, ", "))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	return dir
}

// startOperator runs the operator, with its webhooks in the way of all that is
// made from then on.
func (l *lab) startOperator(t *testing.T) *harness.Process {
	t.Helper()
	ca := authority.New(t)
	certFile, keyFile := ca.Issue(t, "127.0.0.1")
	tmp := t.TempDir() // below which the operator looks for its certificate
	certs := filepath.Join(tmp, "k8s-webhook-server", "serving-certs")
	require.NoError(t, os.MkdirAll(certs, 0o700))
	for file, name := range map[string]string{certFile: "tls.crt", keyFile: "tls.key"} {
		require.NoError(t, os.Rename(file, filepath.Join(certs, name)))
	}
	port := harness.FreePort(t)
	health := harness.FreeAddress(t)
	p := harness.Start(t, harness.Spec{
		Path: harness.Build(t, operatorServer),
		Args: []string{
			fmt.Sprintf("--webhook-port=%d", port), "--health-probe-addr=" + health,
			"--metrics-addr=" + harness.FreeAddress(t), "--enable-cr-metrics=false",
		},
		Env: map[string]string{"KUBECONFIG": l.kubeconfig, "TMPDIR": tmp},
	})
	p.AwaitReady(t, func() error {
		if _, err := harness.Get("http://" + health + "/readyz"); err != nil {
			return err
		}
		conn, err := http.Get("http://127.0.0.1:" + strconv.Itoa(port)) // 400 of a TLS server
		if err != nil {
			return err
		}
		return conn.Body.Close()
	})

	bundle, err := os.ReadFile(ca.File)
	require.NoError(t, err)
	hook := func(path *admissionv1.WebhookClientConfig) {
		url := fmt.Sprintf("https://127.0.0.1:%d%s", port, *path.Service.Path)
		*path = admissionv1.WebhookClientConfig{URL: &url, CABundle: bundle}
	}
	raw, err := os.ReadFile(filepath.Join(moduleFolder(t), "config", "webhook", "manifests.yaml"))
	require.NoError(t, err)
	api := l.Client.AdmissionregistrationV1()
	for _, document := range strings.Split(string(raw), "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		require.NoError(t, err)
		switch o := object.(type) {
		case *admissionv1.MutatingWebhookConfiguration:
			for i := range o.Webhooks {
				hook(&o.Webhooks[i].ClientConfig)
				fail := admissionv1.Fail // published as Ignore for pods, which would hide a failure here
				o.Webhooks[i].FailurePolicy = &fail
			}
			_, err = api.MutatingWebhookConfigurations().Create(t.Context(), o, metav1.CreateOptions{})
		case *admissionv1.ValidatingWebhookConfiguration:
			for i := range o.Webhooks {
				hook(&o.Webhooks[i].ClientConfig)
			}
			_, err = api.ValidatingWebhookConfigurations().Create(t.Context(), o, metav1.CreateOptions{})
		default:
			err = fmt.Errorf("%T among the webhooks", object)
		}
		require.NoError(t, err)
	}
	return p
}

// Every folder is valid against the published CustomResourceDefinitions, in
// front of each backend, and a mistake is not.
func TestValid(t *testing.T) {
	l := startLab(t)
	backends, err := filepath.Glob(folder(t, "backend", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, backends)
	l.Namespace(t, "otelcol-custom-agent")
	l.Namespace(t, "otelcol-custom")
	for _, dir := range []string{"agent", "gateway", "apps", "example"} {
		require.NoError(t, l.apply(t, folder(t, dir), "--dry-run=server"))
		for _, backend := range backends {
			if dir != "example" { // has one
				require.NoError(t, l.apply(t, variant(t, dir, filepath.Join("backend", filepath.Base(backend))), "--dry-run=server"))
			}
		}
	}
	require.NoError(t, l.apply(t, variant(t, "gateway", "gateway-deployment", "backend/azure"), "--dry-run=server"))

	text := l.kubectl(t, "kustomize", folder(t, "apps"))
	for right, wrong := range map[string]string{
		"upgradeStrategy: none":        "upgradeStrategie: none",
		"mode: sidecar":                "mode: sidecars",
		"type: parentbased_always_on":  "type: sometimes",
		"  propagators:":               "  propagator:",
		"emptyDir:":                    "emptyDirectory:",
		"allowPrivilegeEscalation: fa": "allowEscalation: fa",
	} {
		require.Contains(t, text, right)
		_, err := l.try(t, []byte(strings.Replace(text, right, wrong, 1)), "apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-")
		assert.Error(t, err, wrong)
	}
}

// The operator makes of the resources what they say: workloads that pass Pod
// Security, Services at the addresses that apps are given, and ConfigMaps with
// which the collector runs and carries spans.
func TestCollectors(t *testing.T) {
	l := startLab(t)
	l.startOperator(t)
	for _, dir := range []string{"agent", "gateway"} {
		require.NoError(t, l.apply(t, folder(t, dir)))
	}
	// As a controller elsewhere would.
	l.Namespace(t, "otelcol-custom-agent")
	l.Namespace(t, "otelcol-custom")
	const agent, gateway = "otelcol-custom-agent", "otelcol-custom-gateway"
	apps := l.Client.AppsV1()

	t.Run("agent", func(t *testing.T) {
		var template corev1.PodTemplateSpec
		harness.Await(t, "DaemonSet", func() error {
			set, err := apps.DaemonSets(agent).Get(t.Context(), agent+"-collector", metav1.GetOptions{})
			if err == nil {
				template = set.Spec.Template
			}
			return err
		})
		l.asked(t, agent, template)
		l.served(t, agent, agent, template)
		assert.Equal(t, agent, template.Spec.ServiceAccountName)
		c := template.Spec.Containers[0]
		assert.Equal(t, "otelcol-custom:dev", c.Image)
		host := map[int32]int32{}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				host[p.ContainerPort] = p.HostPort
			}
		}
		assert.Equal(t, map[int32]int32{4317: 4317, 4318: 4318}, host)
		l.carries(t, agent, agent, template)
	})
	t.Run("agent in front of another backend", func(t *testing.T) {
		require.NoError(t, l.apply(t, variant(t, "agent", "backend/azure")))
		var template corev1.PodTemplateSpec
		harness.Await(t, "variables of the backend", func() error {
			set, err := apps.DaemonSets(agent).Get(t.Context(), agent+"-collector", metav1.GetOptions{})
			if err == nil && len(set.Spec.Template.Spec.Containers[0].EnvFrom) == 0 {
				err = errors.New("no envFrom")
			}
			if err == nil {
				template = set.Spec.Template
			}
			return err
		})
		assert.Equal(t, "otelcol-custom-backend", template.Spec.Containers[0].EnvFrom[0].SecretRef.Name)
		p := collector.Run(t, "validate", collector.Config{
			Files: []string{l.mounted(t, agent, template)},
			Env: map[string]string{
				"POD_IP": "127.0.0.1", "NODE_NAME": "node-1",
				"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=11111111-2222-4333-8444-555555555555",
			},
		})
		assert.Zero(t, p.ExitCode(), p.Stderr.String())
		got := flat(readYAML(t, l.mounted(t, agent, template)))
		assert.Equal(t, []any{"applicationinsights"}, got["service::pipelines::traces::exporters"])
		assert.InDelta(t, 1<<30, got["exporters::applicationinsights::sending_queue::queue_size"], 0)
	})
	t.Run("gateway", func(t *testing.T) {
		var template corev1.PodTemplateSpec
		harness.Await(t, "StatefulSet", func() error {
			set, err := apps.StatefulSets("otelcol-custom").Get(t.Context(), gateway+"-collector", metav1.GetOptions{})
			if err == nil {
				template = set.Spec.Template
				assert.Equal(t, "queue", set.Spec.VolumeClaimTemplates[0].Name)
			}
			return err
		})
		l.asked(t, "otelcol-custom", template)
		l.served(t, "otelcol-custom", gateway, template)
		for _, constraint := range template.Spec.TopologySpreadConstraints {
			assert.Subset(t, template.Labels, constraint.LabelSelector.MatchLabels)
		}
		l.carries(t, "otelcol-custom", gateway, template)
		harness.Await(t, "autoscaler", func() error {
			hpa, err := l.Client.AutoscalingV2().HorizontalPodAutoscalers("otelcol-custom").Get(t.Context(), gateway+"-collector", metav1.GetOptions{})
			if err != nil {
				return err
			}
			assert.Equal(t, int32(2), *hpa.Spec.MinReplicas)
			assert.Equal(t, int32(10), hpa.Spec.MaxReplicas)
			return nil
		})
		harness.Await(t, "disruption budget", func() error {
			_, err := l.Client.PolicyV1().PodDisruptionBudgets("otelcol-custom").Get(t.Context(), gateway+"-collector", metav1.GetOptions{})
			return err
		})
	})
	t.Run("gateway as a Deployment", func(t *testing.T) {
		// The mode of a resource cannot be changed, so it is made anew.
		l.kubectl(t, "delete", "opentelemetrycollector", "-n", "otelcol-custom", gateway)
		require.NoError(t, l.apply(t, variant(t, "gateway", "gateway-deployment")))
		harness.Await(t, "Deployment", func() error {
			d, err := apps.Deployments("otelcol-custom").Get(t.Context(), gateway+"-collector", metav1.GetOptions{})
			if err == nil {
				l.asked(t, "otelcol-custom", d.Spec.Template)
			}
			return err
		})
	})
}

// asked has the API server admit a pod of the template, with the Pod Security
// that the namespace enforces, and holds its probes against what listens.
func (l *lab) asked(t *testing.T, namespace string, template corev1.PodTemplateSpec) {
	t.Helper()
	for _, volume := range template.Spec.Containers[0].VolumeMounts {
		if volume.Name == "queue" {
			assert.Equal(t, "/var/lib/otelcol-custom", volume.MountPath)
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "try-", Labels: template.Labels}, Spec: *template.Spec.DeepCopy()}
	named := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		named[v.Name] = true
	}
	if !named["queue"] { // of a StatefulSet, which adds it
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "queue", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "queue"},
		}})
	}
	_, err := l.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(t, err)
	c := pod.Spec.Containers[0]
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
		require.NotNil(t, probe, name)
		assert.Equal(t, 13133, probe.HTTPGet.Port.IntValue(), name)
	}
	assert.Equal(t, int32(150), c.StartupProbe.FailureThreshold)
	assert.NotNil(t, c.Lifecycle.PreStop)
}

// served holds our Service against the pods and ports of the operator's workload.
func (l *lab) served(t *testing.T, namespace, name string, template corev1.PodTemplateSpec) {
	t.Helper()
	service, err := l.Client.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Subset(t, template.Labels, service.Spec.Selector)
	open := map[string]bool{}
	for _, p := range template.Spec.Containers[0].Ports {
		open[fmt.Sprint(p.ContainerPort, p.Protocol)] = true
	}
	for _, p := range service.Spec.Ports {
		assert.True(t, open[fmt.Sprint(p.TargetPort.IntValue(), p.Protocol)], "%s has %s, which no pod opens", name, p.Name)
	}
}

// mounted returns the configuration that the operator put into a ConfigMap for
// the pods, as a file.
func (l *lab) mounted(t *testing.T, namespace string, template corev1.PodTemplateSpec) string {
	t.Helper()
	var text string
	for _, v := range template.Spec.Volumes {
		if v.ConfigMap != nil {
			harness.Await(t, "ConfigMap", func() error {
				m, err := l.Client.CoreV1().ConfigMaps(namespace).Get(t.Context(), v.ConfigMap.Name, metav1.GetOptions{})
				if err == nil {
					text = m.Data["collector.yaml"]
				}
				return err
			})
		}
	}
	require.NotEmpty(t, text, "the pod has no ConfigMap with collector.yaml")
	file := filepath.Join(t.TempDir(), "collector.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// carries runs the collector with the operator's ConfigMap and the variables of
// the pod, and sends spans through it.
func (l *lab) carries(t *testing.T, namespace, name string, template corev1.PodTemplateSpec) {
	t.Helper()
	file := l.mounted(t, namespace, template)
	want := flat(configOf(t, strings.TrimPrefix(name, "otelcol-custom-")+"/collector.yaml"))
	assert.Equal(t, want, flat(readYAML(t, file)), "what the operator made of the config")

	token, _ := l.Token(t, namespace, template.Spec.ServiceAccountName)
	env := map[string]string{"OTELCOL_QUEUE_DIRECTORY": t.TempDir(), "KUBECONFIG": l.Kubeconfig(t, l.Address, token)}
	for _, e := range template.Spec.Containers[0].Env {
		if e.ValueFrom == nil {
			env[e.Name] = e.Value
			continue
		}
		if of := e.ValueFrom.ResourceFieldRef; of != nil { // the operator's own GOMAXPROCS
			limit := template.Spec.Containers[0].Resources.Limits[corev1.ResourceName(strings.TrimPrefix(of.Resource, "limits."))]
			env[e.Name] = strconv.FormatInt(limit.Value(), 10)
			continue
		}
		value, ok := map[string]string{"status.podIP": "127.0.0.1", "spec.nodeName": "node-1", "metadata.name": "pod-1"}[e.ValueFrom.FieldRef.FieldPath]
		require.True(t, ok, "no value for %s", e.Name)
		env[e.Name] = value
	}
	c := collector.Start(t, collector.Config{
		Files: []string{file}, Env: env,
		Overlay: "processors: {k8s_attributes: {auth_type: kubeConfig}, k8senrich/pod: {pod_association: {auth_type: kubeConfig}}, k8senrich: {container_resources: {auth_type: kubeConfig}}}",
	})
	shop := telemetry.NewShop()
	sender := telemetry.Senders()[0]
	client := telemetry.Dial(t, sender, c)
	require.NoError(t, client.All(t.Context(), shop))
	c.Stdout.Await(t, shop.Instance)
	c.Stop(t)
}

// A pod with an annotation is given the SDK and the agent's address, one with
// another the sidecar, and one without nothing.
func TestPods(t *testing.T) {
	l := startLab(t)
	operator := l.startOperator(t)
	require.NoError(t, l.apply(t, folder(t, "agent")))
	l.Namespace(t, "shop")
	// What is put into pods must not get them refused.
	l.kubectl(t, "label", "namespace", "shop", "pod-security.kubernetes.io/enforce=restricted")
	require.NoError(t, l.apply(t, folder(t, "apps"), "-n", "shop"))
	service, err := l.Client.CoreV1().Services("otelcol-custom-agent").Get(t.Context(), "otelcol-custom-agent", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, int32(4318), service.Spec.Ports[1].Port)

	set := l.ReplicaSet(t, "shop", "web")
	yes, no, user := true, false, int64(10001)
	restricted := corev1.PodSpec{Containers: []corev1.Container{{
		Name: "app", Image: "shop:dev",
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &user, AllowPrivilegeEscalation: &no,
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}}}
	for name, c := range map[string]struct {
		annotation string
		loads      string // the variable by which the runtime loads the SDK
	}{
		"python": {"instrumentation.opentelemetry.io/inject-python", "PYTHONPATH"},
		"nodejs": {"instrumentation.opentelemetry.io/inject-nodejs", "NODE_OPTIONS"},
		"java":   {"instrumentation.opentelemetry.io/inject-java", "JAVA_TOOL_OPTIONS"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := l.await(t, operator, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", GenerateName: set.Name + "-", Labels: map[string]string{"app": "web"},
					Annotations: map[string]string{c.annotation: "true"},
				},
				Spec: restricted,
			}, func(pod *corev1.Pod) error {
				if len(pod.Spec.InitContainers) != 1 {
					return errors.New("no SDK is put into the pod")
				}
				return nil
			}, set)
			env := map[string]string{}
			for _, e := range pod.Spec.Containers[0].Env {
				env[e.Name] = e.Value
			}
			assert.NotEmpty(t, env[c.loads])
			assert.Equal(t, "http://otelcol-custom-agent.otelcol-custom-agent.svc:4318", env["OTEL_EXPORTER_OTLP_ENDPOINT"])
			assert.Equal(t, "http/protobuf", env["OTEL_EXPORTER_OTLP_PROTOCOL"])
			assert.Equal(t, "web", env["OTEL_SERVICE_NAME"])
			for _, signal := range []string{"TRACES", "METRICS", "LOGS"} {
				assert.Equal(t, "otlp", env["OTEL_"+signal+"_EXPORTER"])
			}
			for _, attribute := range []string{"k8s.deployment.name=web", "k8s.namespace.name=shop", "k8s.container.name=app", "k8s.pod.name="} {
				assert.Contains(t, env["OTEL_RESOURCE_ATTRIBUTES"], attribute)
			}
		})
	}

	t.Run("sidecar", func(t *testing.T) {
		var sidecar corev1.Container
		l.await(t, operator, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", GenerateName: set.Name + "-", Labels: map[string]string{"app": "web"},
				Annotations: map[string]string{"sidecar.opentelemetry.io/inject": "true"},
			},
			Spec: restricted,
		}, func(pod *corev1.Pod) error {
			// An init container that goes on running where the API server says that it is
			// 1.29 or newer; this one, built without a version, says 0.0.0.
			all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers[1:])
			if len(all) != 1 {
				return fmt.Errorf("%d sidecars are put into the pod", len(all))
			}
			sidecar = all[0]
			return nil
		}, set)
		assert.Equal(t, "otelcol-custom:dev", sidecar.Image)
		env := map[string]string{"OTELCOL_QUEUE_DIRECTORY": t.TempDir()}
		paths := map[string]bool{}
		for _, e := range sidecar.Env {
			env[e.Name] = e.Value
			if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
				paths[e.ValueFrom.FieldRef.FieldPath] = true
				env[e.Name] = map[string]string{"status.podIP": "127.0.0.1", "metadata.name": "web-1"}[e.ValueFrom.FieldRef.FieldPath]
			}
		}
		assert.Subset(t, paths, map[string]bool{"metadata.name": true, "metadata.uid": true, "status.podIP": true, "spec.nodeName": true})
		// It runs with the config that came as a variable, and knows its pod.
		file := filepath.Join(t.TempDir(), "collector.yaml")
		require.NoError(t, os.WriteFile(file, []byte(env["OTEL_CONFIG"]), 0o600))
		assert.Equal(t, flat(configOf(t, "apps/sidecar.yaml")), flat(readYAML(t, file)))
		delete(env, "OTEL_CONFIG")
		c := collector.Start(t, collector.Config{Files: []string{file}, Env: env})
		shop := telemetry.NewShop()
		client := telemetry.Dial(t, telemetry.Senders()[0], c)
		require.NoError(t, client.All(t.Context(), shop))
		c.Stdout.Await(t, "k8s.pod.name: Str(web-1)")
	})

	t.Run("neither", func(t *testing.T) {
		pod := l.Pod(t, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", GenerateName: set.Name + "-", Labels: map[string]string{"app": "web"}},
			Spec:       restricted,
		}, "", set)
		assert.Empty(t, pod.Spec.InitContainers)
		assert.Empty(t, pod.Spec.Containers[0].Env)
	})
}

// await makes a pod until it is as check wants it: the operator has its own
// watch of the resources that it puts in, and may be behind.
func (l *lab) await(
	t *testing.T, operator *harness.Process, pod *corev1.Pod, check func(*corev1.Pod) error, of metav1.Object,
) *corev1.Pod {
	t.Helper()
	yes := true
	pod.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: of.GetName(), UID: of.GetUID(), Controller: &yes,
	}}
	var made *corev1.Pod
	harness.Await(t, "pod", func() error {
		select {
		case <-operator.Done():
			return harness.GiveUp(errors.New("the operator has ended"))
		default:
		}
		var err error
		made, err = l.Client.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			return harness.GiveUp(err)
		}
		return check(made)
	})
	return made
}
