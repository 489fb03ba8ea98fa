// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
)

const (
	// NodeName is the name of the node.
	NodeName = "node-1"

	// cgroup is the folder of the pods' control groups in each hierarchy.
	cgroup = "otelcol-custom-test"

	adminToken = "admin"
	patience   = 2 * time.Minute
)

// plugins is where Debian puts the network plugins.
const plugins = "/usr/lib/cni"

// Bridge is the node's address in the pods' network: what comes through a host
// port from a pod of the node bears it.
func (c *Cluster) Bridge() netip.Addr { return c.subnet.addr(1, 1) }

// Cluster is a running cluster.
type Cluster struct {
	// Client may do everything.
	Client kubernetes.Interface
	// HostIP is the test's address as pods see it, NodeIP that of the node.
	HostIP, NodeIP netip.Addr

	dir           string // of the node
	first         string // process of the node, by its id
	subnet        subnet
	ca            *authority.Authority
	apiServerName string // in its certificate
}

// subnet is 10.N.0.0/16: .0.0/24 joins machine and node, .1.0/24 is of pods,
// .2.0/24 of Services.
type subnet byte

func (s subnet) addr(third, fourth byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(s), third, fourth})
}

func (s subnet) prefix(third byte) string { return s.addr(third, 0).String() + "/24" }
func (s subnet) whole() string            { return s.addr(0, 0).String() + "/16" }

// Start starts a cluster until the test ends, and returns when its node is
// ready for pods.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	need(tb)
	lock(tb)
	c := &Cluster{dir: tb.TempDir(), ca: authority.New(tb), subnet: freeSubnet(tb)}
	c.HostIP, c.NodeIP = c.subnet.addr(0, 1), c.subnet.addr(0, 2)
	c.apiServerName = c.subnet.addr(2, 1).String()
	for _, folder := range []string{"bin", "log", "cni", "volume-plugins"} {
		fatal(tb, os.Mkdir(c.file(folder), 0o755))
	}
	for _, p := range programs() {
		fatal(tb, os.Symlink(harness.Build(tb, p), c.file("bin/"+p.Name)))
	}
	c.configure(tb)
	makeCgroups(tb)

	tb.Cleanup(func() {
		// What is on the node is killed with it; then the folders are free.
		harness.Await(tb, "the node is still there", func() error {
			if _, err := os.Stat("/proc/" + c.first); c.first != "" && err == nil {
				return errors.New("its first process has not ended")
			}
			return nil
		})
	})
	node := harness.Start(tb, harness.Spec{
		Path: program(tb, "unshare"),
		Args: []string{
			"--mount", "--net", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
			"bash", filepath.Join(harness.Root(tb), "test/servers/cluster/node.sh"), c.dir,
		},
		Env: map[string]string{"PATH": os.Getenv("PATH"), "HOME": c.dir},
	})
	tb.Cleanup(func() {
		if tb.Failed() {
			c.keepLogs(tb)
		}
	})
	c.connect(tb, node)

	config := c.Config(adminToken)
	client, err := kubernetes.NewForConfig(config)
	fatal(tb, err)
	c.Client = client
	transport, err := rest.HTTPClientFor(config)
	fatal(tb, err)
	await(tb, node, "the API server is not ready", func() error {
		answer, err := transport.Get(config.Host + "/readyz")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return errors.New(answer.Status)
		}
		return nil
	})
	c.bind(tb, "kube-proxy", "system:node-proxier", "system:kube-proxy")
	c.bind(tb, "kubelet-client", "system:kubelet-api-admin", "kube-apiserver")
	await(tb, node, "the node is not ready", func() error {
		n, err := client.CoreV1().Nodes().Get(tb.Context(), NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return errors.New(condition.Message)
			}
		}
		for _, taint := range n.Spec.Taints {
			return fmt.Errorf("it has the taint %s", taint.Key)
		}
		_, err = client.CoreV1().ServiceAccounts("default").Get(tb.Context(), "default", metav1.GetOptions{})
		return err
	})
	return c
}

// need ends the test early when the machine lacks something.
func need(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatal("a cluster is started by root only")
	}
	for _, name := range []string{"runc", "iptables", "ip", "unshare", "nsenter", "mount", "hostname"} {
		program(tb, name)
	}
	for _, name := range []string{"bridge", "host-local", "loopback", "portmap"} {
		if _, err := os.Stat(filepath.Join(plugins, name)); err != nil {
			tb.Fatalf("a network plugin is missing (Debian's package containernetworking-plugins): %v", err)
		}
	}
}

func program(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatalf("a cluster needs the program %s: %v", name, err)
	}
	return path
}

// lock waits for the clusters of other tests to end.
func lock(tb testing.TB) {
	tb.Helper()
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "otelcol-custom-cluster.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	fatal(tb, err)
	tb.Cleanup(func() { file.Close() })
	harness.AwaitFor(tb, 15*time.Minute, "the cluster of another test is still there", func() error {
		return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
}

// freeSubnet returns one that no route of the machine touches.
func freeSubnet(tb testing.TB) subnet {
	tb.Helper()
	routes := run(tb, "ip", "-4", "route", "show", "table", "all")
	for range 100 {
		s := subnet(64 + rand.IntN(128))
		whole := netip.MustParsePrefix(s.whole())
		free := true
		for _, word := range strings.Fields(routes) {
			if prefix, err := netip.ParsePrefix(word); err == nil && prefix.Bits() > 0 {
				free = free && !prefix.Overlaps(whole)
			} else if addr, err := netip.ParseAddr(word); err == nil {
				free = free && !whole.Contains(addr)
			}
		}
		if free {
			return s
		}
	}
	tb.Fatalf("no subnet 10.N.0.0/16 is free; the machine's routes:\n%s", routes)
	return 0
}

// connect joins the node to the machine.
func (c *Cluster) connect(tb testing.TB, node *harness.Process) {
	tb.Helper()
	await(tb, node, "the node has no first process", func() error {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", node.PID(), node.PID()))
		if err != nil {
			return err
		}
		c.first = strings.TrimSpace(string(raw))
		if c.first == "" {
			return errors.New("unshare has no child")
		}
		return nil
	})
	link := "otelcol" + strconv.Itoa(node.PID())
	run(tb, "ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", c.first)
	run(tb, "ip", "address", "add", c.HostIP.String()+"/24", "dev", link)
	run(tb, "ip", "link", "set", link, "up")
	run(tb, "ip", "route", "add", c.subnet.whole(), "via", c.NodeIP.String())
	tb.Cleanup(func() {
		// It would go with the node, some time after.
		_ = exec.Command("ip", "link", "delete", link).Run()
	})
}

// OnNode runs a program on the node and returns what it prints.
func (c *Cluster) OnNode(tb testing.TB, command ...string) string {
	tb.Helper()
	path := "PATH=" + c.file("bin") + ":" + os.Getenv("PATH")
	args := []string{"--target", c.first, "--mount", "--net", "--uts", "env", path}
	return run(tb, "nsenter", append(args, command...)...)
}

func (c *Cluster) file(name string) string { return filepath.Join(c.dir, name) }

func (c *Cluster) write(tb testing.TB, name, text string) {
	tb.Helper()
	fatal(tb, os.WriteFile(c.file(name), []byte(text), 0o600))
}

// Config returns a client configuration with a token.
func (c *Cluster) Config(token string) *rest.Config {
	return &rest.Config{
		Host:            "https://" + c.NodeIP.String() + ":6443",
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.ca.File, ServerName: c.apiServerName},
		QPS:             -1,
		Timeout:         30 * time.Second,
	}
}

func (c *Cluster) kubeconfig(tb testing.TB, name, token string) {
	tb.Helper()
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["test"] = &clientcmdapi.Cluster{
		Server: "https://" + c.NodeIP.String() + ":6443", CertificateAuthority: c.ca.File, TLSServerName: c.apiServerName,
	}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: name}
	cfg.CurrentContext = "test"
	fatal(tb, clientcmd.WriteToFile(*cfg, c.file(name+".conf")))
}

// configure writes what the node's programs read.
func (c *Cluster) configure(tb testing.TB) {
	tb.Helper()
	apiCert, apiKey := c.ca.Issue(tb, c.apiServerName)
	clientCert, clientKey := c.ca.Issue(tb, "kube-apiserver")
	kubeletCert, kubeletKey := c.ca.Issue(tb, c.NodeIP.String())
	_, accountKey := c.ca.Issue(tb, "service-accounts")

	var tokens strings.Builder
	for _, user := range []struct{ file, name, group string }{
		{adminToken, "admin", "system:masters"},
		{"kubelet", "system:node:" + NodeName, "system:nodes"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
	} {
		// Each user's token is the name of its file.
		fmt.Fprintf(&tokens, "%s,%s,%s,%s\n", user.file, user.name, user.name, user.group)
		c.kubeconfig(tb, user.file, user.file)
	}
	c.write(tb, "tokens.csv", tokens.String())

	c.write(tb, "env", strings.Join([]string{
		"NODE=" + NodeName,
		"NODE_IP=" + c.NodeIP.String(),
		"SERVICES=" + c.subnet.prefix(2),
		"CA=" + c.ca.File,
		"API_CERT=" + apiCert, "API_KEY=" + apiKey,
		"API_CLIENT_CERT=" + clientCert, "API_CLIENT_KEY=" + clientKey,
		"ACCOUNT_KEY=" + accountKey,
	}, "\n"))
	fatal(tb, os.Rename(Image{
		Name: pauseImage, Files: map[string]string{"/app": Binary(tb, "./test/cluster/app")}, Entrypoint: []string{"/app", "pause"},
	}.Write(tb), c.file("pause.tar")))
	c.write(tb, "containerd.toml", fmt.Sprintf(`
version = 3
root = %q
[plugins."io.containerd.cri.v1.runtime"]
  # A process without CAP_SYS_RESOURCE cannot give another a lower score than its own.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%q]
    conf_dir = %q
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %q
`, c.file("containerd"), plugins, c.file("cni"), pauseImage))
	// portmap stands as most network plugins set it up, with its default for snat:
	// what comes through a host port from a pod of this node has the bridge's address.
	c.write(tb, "cni/10-bridge.conflist", fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}`, c.subnet.prefix(1)))
	c.write(tb, "resolv.conf", "")
	c.write(tb, "Corefile", fmt.Sprintf(".:53 {\n bind %s\n errors\n kubernetes cluster.local {\n  kubeconfig %s\n }\n}\n",
		c.NodeIP, c.file("admin.conf")))
	c.write(tb, "kubelet.yaml", fmt.Sprintf(`
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%s
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %q}}
authorization: {mode: Webhook}
tlsCertFile: %q
tlsPrivateKeyFile: %q
resolvConf: %q
clusterDNS: [%s]
clusterDomain: cluster.local
volumePluginDir: %q
maxOpenFiles: 20000
oomScoreAdj: 0
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
`, cgroup, c.ca.File, kubeletCert, kubeletKey, c.file("resolv.conf"), c.NodeIP, c.file("volume-plugins")))
	c.write(tb, "kube-proxy.yaml", fmt.Sprintf(`
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
bindAddress: %s
healthzBindAddress: 127.0.0.1:10256
hostnameOverride: %s
clusterCIDR: %s
clientConnection: {kubeconfig: %q}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
oomScoreAdj: 0
`, c.NodeIP, NodeName, c.subnet.prefix(1), c.file("kube-proxy.conf")))
}

// makeCgroups makes the folder of the pods' control groups, and takes away what
// a test has left that was killed.
func makeCgroups(tb testing.TB) {
	tb.Helper()
	hierarchies := []string{"/sys/fs/cgroup"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil { // version 1
		hierarchies, err = filepath.Glob("/sys/fs/cgroup/*")
		fatal(tb, err)
	}
	remove := func() error {
		var left error
		for _, h := range hierarchies {
			left = errors.Join(left, removeCgroup(filepath.Join(h, cgroup)))
		}
		return left
	}
	harness.Await(tb, "control groups of an earlier cluster are in use", remove)
	for _, h := range hierarchies {
		// Version 1 has other things than hierarchies there, such as links.
		if _, err := os.Stat(filepath.Join(h, "cgroup.procs")); err == nil {
			fatal(tb, os.Mkdir(filepath.Join(h, cgroup), 0o755))
		}
	}
	tb.Cleanup(func() { harness.Await(tb, "control groups are in use", remove) })
}

func removeCgroup(path string) error {
	var folders []string
	err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i := len(folders) - 1; i >= 0; i-- {
		if err := os.Remove(folders[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// bind grants a user a ClusterRole.
func (c *Cluster) bind(tb testing.TB, name, role, user string) {
	tb.Helper()
	c.Kubectl(tb, "create", "clusterrolebinding", "test-"+name, "--clusterrole="+role, "--user="+user)
}

// await is [harness.AwaitFor] for something that does not come when the node ends.
func await(tb testing.TB, node *harness.Process, what string, check func() error) {
	tb.Helper()
	harness.AwaitFor(tb, patience, what, func() error {
		err := check()
		select {
		case <-node.Done():
			return harness.GiveUp(fmt.Errorf("the node has ended with code %d", node.ExitCode()))
		default:
			return err
		}
	})
}

func run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), name, args...)
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr)
	}
	return string(out)
}

func fatal(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
