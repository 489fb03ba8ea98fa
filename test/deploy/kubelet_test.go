// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

// node is what a kubelet is for: it runs the collector's container of a pod as a
// process of this machine, in a root directory made as the image is.
//
// What differs from a real pod: the network is the machine's. So a pod's address
// is one of 127.0.0.0/8, on which the process listens on the ports that it is
// told to; and what would listen on localhost, which all pods have in common
// here, is given free ports.
type node struct {
	cluster *kubetest.Cluster
	name    string
	// hosts are the addresses of Services, by name.
	hosts map[string][]string
	ipv6  bool
}

// user is who the image runs as.
const user = "10001:10001"

// run is a pod whose collector runs.
type run struct {
	*collector.Collector
	pod *corev1.Pod
	// root is the root directory of the container, with the volumes in it.
	root string
	// local are the addresses on localhost.
	local []string
}

// start makes a pod, as its controller would, and runs its collector. The
// overlay is YAML over the pod's configuration, for what a test must change.
func (n *node) start(t *testing.T, w workload, ordinal int, overlay string) *run {
	t.Helper()
	return n.restart(t, w, ordinal, overlay, t.TempDir())
}

// restart is start with the volumes of a pod that was there before.
func (n *node) restart(t *testing.T, w workload, ordinal int, overlay, root string) *run {
	t.Helper()
	pod := w.live(t, n.cluster).pod(ordinal)
	pod.Spec.NodeName = n.name
	ip := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	if n.ipv6 {
		ip = "::1" // the only one, so for one pod at a time
	}
	n.cluster.ServiceAccount(t, pod.Namespace, "default") // a controller's work
	pod = n.cluster.Pod(t, pod, ip, nil)
	t.Cleanup(func() {
		// Unless the test has done it; the context of the test is over.
		err := n.cluster.Client.CoreV1().Pods(pod.Namespace).Delete(noContext(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	container := collectorOf(t, &pod.Spec)
	n.image(t, root)
	for _, mount := range container.VolumeMounts {
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
		require.GreaterOrEqual(t, i, 0, "no volume %s", mount.Name)
		n.volume(t, pod, pod.Spec.Volumes[i], filepath.Join(root, mount.MountPath))
	}
	env := n.env(t, pod, container)
	r := &run{pod: pod, root: root, Collector: &collector.Collector{Endpoints: map[string]string{
		"receivers::otlp::protocols::grpc": net.JoinHostPort(ip, "4317"),
		"receivers::otlp::protocols::http": net.JoinHostPort(ip, "4318"),
	}}}
	r.MetricsAddress = net.JoinHostPort(ip, "8888")
	overlay = r.moveLocal(t, overlay, container.Name == "otelcol-custom")
	args := []string{filepath.Join("/", "otelcol-custom")}
	for _, arg := range container.Args {
		args = append(args, expand(arg, env))
	}
	args = append(args, "--config=yaml:"+overlay)
	r.Process = harness.Start(t, chroot(root, args, env))
	r.AwaitReady(t, func() error {
		_, err := harness.Get("http://" + r.Endpoints["extensions::health_check"])
		return err
	})
	return r
}

// moveLocal adds to an overlay that what listens on localhost has free ports.
func (r *run) moveLocal(t *testing.T, overlay string, sidecar bool) string {
	t.Helper()
	text := &strings.Builder{}
	text.WriteString(overlay)
	keys := []string{"extensions::health_check", "extensions::pprof", "extensions::zpages"}
	if sidecar {
		keys = append(keys, "receivers::otlp::protocols::grpc", "receivers::otlp::protocols::http")
	}
	for _, key := range keys {
		address := harness.FreeAddress(t)
		r.Endpoints[key] = address
		r.local = append(r.local, address)
		fmt.Fprintf(text, "\n%s::endpoint: %s", key, address)
	}
	if sidecar {
		r.MetricsAddress = harness.FreeAddress(t)
		r.local = append(r.local, r.MetricsAddress)
		host, port, _ := net.SplitHostPort(r.MetricsAddress)
		fmt.Fprintf(text, "\nservice::telemetry::metrics::readers: [{pull: {exporter: {prometheus: {host: %s, port: %s}}}}]", host, port)
	}
	return text.String()
}

// chroot runs a command in a root directory as the image's user, or as the
// test's where that may not change it.
func chroot(root string, args []string, env map[string]string) harness.Spec {
	// A mount namespace of its own, for /proc, from which the collector knows the
	// memory there is.
	script := `mount --rbind /proc "$0/proc" && exec chroot --userspec=` + user + ` "$0" "$@"`
	unshare := []string{"--mount"}
	if os.Getuid() != 0 {
		script = `mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"`
		unshare = append(unshare, "--user", "--map-root-user")
	}
	return harness.Spec{
		Path: "/usr/bin/unshare",
		Args: slices.Concat(unshare, []string{"/bin/sh", "-c", script, root}, args),
		Env:  env,
	}
}

// image puts into a root directory what the image has.
func (n *node) image(t *testing.T, root string) {
	t.Helper()
	require.NoError(t, os.Chmod(root, 0o755))
	for _, dir := range []string{"proc", "etc/otelcol-custom", "var/lib/otelcol-custom"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	give(t, filepath.Join(root, "var/lib/otelcol-custom"))
	hosts := &strings.Builder{}
	for _, name := range names(n.hosts) {
		for _, address := range n.hosts[name] {
			fmt.Fprintln(hosts, address, name)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/hosts"), []byte(hosts.String()), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(root, "etc/hosts"), 0o644))
	require.NoError(t, os.CopyFS(filepath.Join(root, "etc/otelcol-custom"), onlyNew{os.DirFS(collector.Configs(t)), filepath.Join(root, "etc/otelcol-custom")}))
	binary := filepath.Join(root, "otelcol-custom")
	if _, err := os.Stat(binary); errors.Is(err, fs.ErrNotExist) {
		link(t, collector.Binary(t), binary)
	}
}

// onlyNew leaves out of a file system what is in a directory already: CopyFS
// overwrites nothing, and a pod may come back to its root directory.
type onlyNew struct {
	fs.FS
	have string
}

// ReadDir implements fs.ReadDirFS.
func (o onlyNew) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(o.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		_, err := os.Stat(filepath.Join(o.have, name, e.Name()))
		return !e.IsDir() && err == nil
	}), err
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if os.Link(from, to) == nil {
		return
	}
	// On another file system.
	source, err := os.Open(from)
	require.NoError(t, err)
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(target, source)
	require.NoError(t, errors.Join(err, target.Close()))
}

// give lets the collector's user write to a directory: what fsGroup is for, and
// the agent's init container.
func give(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(dir, 10001, 10001))
	}
}

// volume fills the directory at which a volume is mounted.
func (n *node) volume(t *testing.T, pod *corev1.Pod, v corev1.Volume, dir string) {
	t.Helper()
	if v.HostPath == nil && v.PersistentVolumeClaim == nil && v.EmptyDir == nil {
		require.NoError(t, os.RemoveAll(dir)) // what the image has there is hidden
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, 0o644))
	}
	switch {
	case v.HostPath != nil, v.PersistentVolumeClaim != nil, v.EmptyDir != nil:
		give(t, dir)
	case v.ConfigMap != nil:
		configMap, err := n.cluster.Client.CoreV1().ConfigMaps(pod.Namespace).Get(t.Context(), v.ConfigMap.Name, metav1.GetOptions{})
		require.NoError(t, err)
		require.Empty(t, v.ConfigMap.Items)
		for name, text := range configMap.Data {
			write(name, text)
		}
	case v.Secret != nil:
		secret, err := n.cluster.Client.CoreV1().Secrets(pod.Namespace).Get(t.Context(), v.Secret.SecretName, metav1.GetOptions{})
		require.NoError(t, err)
		require.Empty(t, v.Secret.Items)
		for name, text := range secret.Data {
			write(name, string(text))
		}
	case v.DownwardAPI != nil:
		for _, item := range v.DownwardAPI.Items {
			write(item.Path, n.field(t, pod, item.FieldRef.FieldPath))
		}
	case v.Projected != nil: // the account's token, which the API server has added
		for _, source := range v.Projected.Sources {
			switch {
			case source.ServiceAccountToken != nil:
				token, _ := n.cluster.Token(t, pod.Namespace, pod.Spec.ServiceAccountName)
				write(source.ServiceAccountToken.Path, token)
			case source.ConfigMap != nil && source.ConfigMap.Name == "kube-root-ca.crt": // a controller's work
				ca, err := os.ReadFile(n.cluster.CAFile)
				require.NoError(t, err)
				write("ca.crt", string(ca))
			case source.DownwardAPI != nil:
				for _, item := range source.DownwardAPI.Items {
					write(item.Path, n.field(t, pod, item.FieldRef.FieldPath))
				}
			default:
				require.Fail(t, "unknown source of a volume", "%+v", source)
			}
		}
	default:
		require.Fail(t, "unknown kind of volume", "%+v", v)
	}
}

// env returns the environment of a container.
func (n *node) env(t *testing.T, pod *corev1.Pod, container *corev1.Container) map[string]string {
	t.Helper()
	host, port, err := net.SplitHostPort(n.cluster.Address)
	require.NoError(t, err)
	env := map[string]string{"HOSTNAME": pod.Name, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
	require.Empty(t, container.EnvFrom)
	for _, e := range container.Env {
		from := e.ValueFrom
		switch {
		case from == nil:
			env[e.Name] = expand(e.Value, env)
		case from.FieldRef != nil:
			env[e.Name] = n.field(t, pod, from.FieldRef.FieldPath)
		case from.ResourceFieldRef != nil:
			env[e.Name] = limit(t, pod, from.ResourceFieldRef)
		case from.SecretKeyRef != nil:
			ref := from.SecretKeyRef
			secret, err := n.cluster.Client.CoreV1().Secrets(pod.Namespace).Get(t.Context(), ref.Name, metav1.GetOptions{})
			require.NoError(t, err)
			value, ok := secret.Data[ref.Key]
			if ok {
				env[e.Name] = string(value)
			} else {
				require.True(t, ref.Optional != nil && *ref.Optional, "the Secret has no %s", ref.Key)
			}
		default:
			require.Fail(t, "unknown kind of variable", "%+v", e)
		}
	}
	return env
}

var reference = regexp.MustCompile(`\$\(([A-Z_]+)\)`)

// expand puts variables into a value, as Kubernetes does.
func expand(value string, env map[string]string) string {
	return reference.ReplaceAllStringFunc(value, func(s string) string {
		if v, ok := env[s[2:len(s)-1]]; ok {
			return v
		}
		return s
	})
}

var labelPath = regexp.MustCompile(`^metadata\.labels\['(.*)'\]$`)

// field is the Downward API.
func (*node) field(t *testing.T, pod *corev1.Pod, path string) string {
	t.Helper()
	if m := labelPath.FindStringSubmatch(path); m != nil {
		return pod.Labels[m[1]]
	}
	lines := func(values map[string]string) string {
		text := &strings.Builder{}
		for _, name := range names(values) {
			fmt.Fprintf(text, "%s=%q\n", name, values[name])
		}
		return text.String()
	}
	switch path {
	case "metadata.name":
		return pod.Name
	case "metadata.namespace":
		return pod.Namespace
	case "metadata.uid":
		return string(pod.UID)
	case "metadata.labels":
		return lines(pod.Labels)
	case "metadata.annotations":
		return lines(pod.Annotations)
	case "spec.nodeName":
		return pod.Spec.NodeName
	case "status.podIP":
		return pod.Status.PodIP
	}
	require.Fail(t, "unknown field", path)
	return ""
}

// limit is a limit of one of the pod's containers, divided and rounded up.
func limit(t *testing.T, pod *corev1.Pod, ref *corev1.ResourceFieldSelector) string {
	t.Helper()
	for _, container := range pod.Spec.Containers {
		if container.Name != ref.ContainerName {
			continue
		}
		switch ref.Resource {
		case "limits.cpu":
			require.Equal(t, "1m", ref.Divisor.String())
			return strconv.FormatInt(container.Resources.Limits.Cpu().MilliValue(), 10)
		case "limits.memory":
			require.True(t, ref.Divisor.IsZero() || ref.Divisor.Value() == 1)
			return strconv.FormatInt(container.Resources.Limits.Memory().Value(), 10)
		}
	}
	require.Fail(t, "unknown resource", "%+v", ref)
	return ""
}
