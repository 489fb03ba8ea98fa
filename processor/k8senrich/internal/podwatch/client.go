// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// Auth is the way to authenticate to the API server.
type Auth string

// The ways, as in k8s_attributes.
const (
	ServiceAccount Auth = "serviceAccount"
	KubeConfig     Auth = "kubeConfig"
	None           Auth = "none"
)

// client reads pods. Tokens in files are read again as they are replaced.
type client struct {
	pods corev1.PodsGetter
	http *http.Client
}

// newClient returns an error that is a [notConfigured] if this is no place with
// a cluster.
func newClient(auth Auth) (*client, error) {
	cfg, err := restConfig(auth)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = rest.DefaultKubernetesUserAgent() + " k8senrich"
	// Half as long on the wire and cheaper to read than JSON.
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = cfg.ContentType + ",application/json"
	if file := cfg.BearerTokenFile; file != "" {
		// As client-go does it, but that a token which is refused is read again at
		// once, and not when its minute is over.
		cfg.BearerToken, cfg.BearerTokenFile = "", ""
		cfg.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(file)))
	}
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	c, err := corev1.NewForConfigAndClient(cfg, h)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	return &client{pods: c, http: h}, nil
}

func (c *client) close() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }

// notConfigured tells that nothing here says where an API server is.
type notConfigured struct{ error }

func restConfig(auth Auth) (*rest.Config, error) {
	switch auth {
	case KubeConfig:
		cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
		if clientcmd.IsEmptyConfig(err) {
			return nil, notConfigured{err}
		}
		return cfg, err
	case None:
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, notConfigured{rest.ErrNotInCluster}
		}
		return &rest.Config{
			Host:            "https://" + net.JoinHostPort(host, port),
			TLSClientConfig: rest.TLSClientConfig{Insecure: true},
			Proxy:           noProxy,
		}, nil
	default:
		cfg, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, notConfigured{err}
		}
		if err != nil {
			return nil, err
		}
		cfg.Proxy = noProxy
		return cfg, nil
	}
}

// noProxy is for addresses inside of the cluster.
func noProxy(*http.Request) (*url.URL, error) { return nil, nil }
