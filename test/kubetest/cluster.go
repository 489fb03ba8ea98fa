// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/authority"
)

const folder = "test/servers/kubernetes"

var (
	apiServer = harness.Server{
		Name:    "kube-apiserver",
		Folder:  folder,
		Module:  "k8s.io/kubernetes",
		Package: "k8s.io/kubernetes/cmd/kube-apiserver",
	}
	etcd = harness.Server{
		Name:    "etcd",
		Folder:  folder,
		Module:  "go.etcd.io/etcd/server/v3",
		Package: "go.etcd.io/etcd/server/v3",
	}
)

// adminToken is that of a member of system:masters.
const adminToken = "admin"

// Cluster is an API server with its etcd.
type Cluster struct {
	// Address is the API server's, on 127.0.0.1.
	Address string
	// CAFile has the certificate of the authority that the API server's
	// certificate is from.
	CAFile string
	// Client may do everything.
	Client kubernetes.Interface

	dir, apiBinary, etcdBinary string
	etcdClient, etcdPeer       string
	certFile, keyFile          string
	accountKey                 string
	flags                      []string
	etcd, api                  *harness.Process
}

// Start starts a cluster and returns when it answers. The flags are added to
// the API server's command line.
func Start(tb testing.TB, flags ...string) *Cluster {
	tb.Helper()
	ca := authority.New(tb)
	c := &Cluster{
		Address:    harness.FreeAddress(tb),
		CAFile:     ca.File,
		dir:        tb.TempDir(),
		apiBinary:  harness.Build(tb, apiServer),
		etcdBinary: harness.Build(tb, etcd),
		etcdClient: "http://" + harness.FreeAddress(tb),
		etcdPeer:   "http://" + harness.FreeAddress(tb),
		flags:      flags,
	}
	c.certFile, c.keyFile = ca.Issue(tb, "127.0.0.1")
	_, c.accountKey = ca.Issue(tb, "service-accounts")
	client, err := kubernetes.NewForConfig(c.Config(adminToken))
	if err != nil {
		tb.Fatal(err)
	}
	c.Client = client
	c.StartEtcd(tb)
	c.StartAPIServer(tb)
	return c
}

// Config returns a client configuration with a token. Its requests are not held
// back to a few a second.
func (c *Cluster) Config(token string) *rest.Config {
	return &rest.Config{
		Host:            "https://" + c.Address,
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile},
		ContentConfig:   rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"},
		QPS:             -1,
		// What is not gone when the API server is, is not waited for.
		Timeout: 30 * time.Second,
	}
}

// StartEtcd starts etcd, which is done already unless it was stopped.
func (c *Cluster) StartEtcd(tb testing.TB) {
	tb.Helper()
	c.etcd = harness.Start(tb, harness.Spec{Path: c.etcdBinary, Args: []string{
		"--data-dir", filepath.Join(c.dir, "etcd"),
		"--listen-client-urls", c.etcdClient, "--advertise-client-urls", c.etcdClient,
		"--listen-peer-urls", c.etcdPeer, "--initial-advertise-peer-urls", c.etcdPeer,
		"--initial-cluster", "default=" + c.etcdPeer,
		"--unsafe-no-fsync", // the data need not outlive the machine
		"--log-level", "error",
	}})
	c.etcd.AwaitReady(tb, func() error { return get(http.DefaultClient, c.etcdClient+"/health") })
}

// StartAPIServer starts the API server, which is done already unless it was
// stopped, and returns when it is ready.
func (c *Cluster) StartAPIServer(tb testing.TB) {
	tb.Helper()
	tokens := filepath.Join(c.dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(adminToken+",admin,admin,system:masters\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(c.Address)
	c.api = harness.Start(tb, harness.Spec{Path: c.apiBinary, Args: append([]string{
		"--etcd-servers=" + c.etcdClient,
		"--bind-address=" + host, "--secure-port=" + port,
		"--tls-cert-file=" + c.certFile, "--tls-private-key-file=" + c.keyFile,
		"--token-auth-file=" + tokens,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.accountKey, "--service-account-signing-key-file=" + c.accountKey,
		"--service-cluster-ip-range=10.0.0.0/24",
		"--endpoint-reconciler-type=none", // it refuses to publish a loopback address
		"--profiling=false",
	}, c.flags...)})
	client, err := rest.HTTPClientFor(c.Config(adminToken))
	if err != nil {
		tb.Fatal(err)
	}
	// It has much to set up and a busy machine may need its time.
	harness.AwaitFor(tb, 2*time.Minute, "the API server is not ready", func() error {
		err := get(client, "https://"+c.Address+"/readyz")
		select {
		case <-c.api.Done():
			return harness.GiveUp(fmt.Errorf("the process has ended with code %d", c.api.ExitCode()))
		default:
			return err
		}
	})
}

// KillAPIServer ends the API server by SIGKILL.
func (c *Cluster) KillAPIServer() { c.api.Kill() }

// KillEtcd ends etcd by SIGKILL.
func (c *Cluster) KillEtcd() { c.etcd.Kill() }

// CompactEtcd forgets all versions but the current one, so that no watch can go
// on from an older one.
func (c *Cluster) CompactEtcd(tb testing.TB) {
	tb.Helper()
	var status struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	if err := json.Unmarshal(c.callEtcd(tb, "maintenance/status", map[string]any{}), &status); err != nil {
		tb.Fatalf("status of etcd: %v", err)
	}
	c.callEtcd(tb, "kv/compaction", map[string]any{"revision": status.Header.Revision, "physical": true})
}

func (c *Cluster) callEtcd(tb testing.TB, method string, request any) []byte {
	tb.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		tb.Fatal(err)
	}
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, c.etcdClient+"/v3/"+method, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatalf("call %s of etcd: %v", method, err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		tb.Fatalf("call %s of etcd: %s %s %v", method, answer.Status, text.String(), err)
	}
	return text.Bytes()
}

// Kubeconfig writes a kubeconfig with a token for the API server at an address,
// which is the cluster's own or that of a [Link] to it, and returns the file.
// An empty token is none.
func (c *Cluster) Kubeconfig(tb testing.TB, address, token string) string {
	tb.Helper()
	return c.kubeconfig(tb, address, &clientcmdapi.AuthInfo{Token: token})
}

// KubeconfigWithTokenFile is [Cluster.Kubeconfig] with a token that is read from
// a file, as a pod's is, and may be replaced.
func (c *Cluster) KubeconfigWithTokenFile(tb testing.TB, address, tokenFile string) string {
	tb.Helper()
	return c.kubeconfig(tb, address, &clientcmdapi.AuthInfo{TokenFile: tokenFile})
}

func (c *Cluster) kubeconfig(tb testing.TB, address string, user *clientcmdapi.AuthInfo) string {
	tb.Helper()
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["test"] = &clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: ca}
	cfg.AuthInfos["test"] = user
	cfg.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	cfg.CurrentContext = "test"
	file := filepath.Join(tb.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, file); err != nil {
		tb.Fatal(err)
	}
	return file
}

func get(client *http.Client, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		var text bytes.Buffer
		_, _ = text.ReadFrom(answer.Body)
		return fmt.Errorf("%s: %s: %s", address, answer.Status, text.String())
	}
	return nil
}
