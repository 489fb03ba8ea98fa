// SPDX-License-Identifier: Apache-2.0

// Package kubetest runs a real Kubernetes API server for tests.
//
// A [Cluster] is kube-apiserver and etcd of the versions that
// test/servers/kubernetes pins, with authorization by RBAC and the admission of
// ServiceAccounts, nodes (NodeRestriction) and pods (PodSecurity) as in a real
// cluster. There is nothing else: no controller makes pods of a Deployment, no
// scheduler places them and no kubelet runs them. Tests make these objects as
// the controllers would, with the functions here or with client-go.
//
// The servers listen on free ports of the loopback interface and end with the
// test. A server that is stopped is started again at the same address with the
// same data. The binaries are built once, see [harness.Build]; that takes some
// minutes.
package kubetest
