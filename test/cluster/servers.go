// SPDX-License-Identifier: Apache-2.0

package cluster

import "github.com/otelcol-custom/otelcol-custom/test/harness"

// ofKubernetes is a command of Kubernetes, of the version that tests use elsewhere.
func ofKubernetes(name string) harness.Server {
	return harness.Server{
		Name:    name,
		Folder:  "test/servers/kubernetes",
		Module:  "k8s.io/kubernetes",
		Package: "k8s.io/kubernetes/cmd/" + name,
	}
}

const containerdModule = "github.com/containerd/containerd/v2"

func ofContainerd(name string) harness.Server {
	return harness.Server{
		Name:    name,
		Folder:  "test/servers/containerd",
		Module:  containerdModule,
		Package: containerdModule + "/cmd/" + name,
	}
}

// programs are all that the node runs, in the order in which they are built.
func programs() []harness.Server {
	return []harness.Server{
		ofKubernetes("kubectl"),
		ofKubernetes("kube-apiserver"),
		{
			Name:    "etcd",
			Folder:  "test/servers/kubernetes",
			Module:  "go.etcd.io/etcd/server/v3",
			Package: "go.etcd.io/etcd/server/v3",
		},
		ofKubernetes("kubelet"),
		ofKubernetes("kube-controller-manager"),
		ofKubernetes("kube-scheduler"),
		ofKubernetes("kube-proxy"),
		ofContainerd("containerd"),
		ofContainerd("containerd-shim-runc-v2"),
		ofContainerd("ctr"),
		{
			Name:    "coredns",
			Folder:  "test/servers/coredns",
			Module:  "github.com/coredns/coredns",
			Package: "github.com/otelcol-custom/otelcol-custom/test/servers/coredns",
		},
	}
}
