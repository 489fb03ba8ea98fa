// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a real Kubernetes of one node for tests: etcd, API
// server, controller manager, scheduler, kubelet, kube-proxy, CoreDNS and
// containerd, with real pods.
//
// The node is a process in mount, network, PID and UTS namespaces of its own,
// see test/servers/cluster, so that its end is the end of everything on it. A
// pair of virtual interfaces joins it to the machine: the test reaches pods,
// Services and host ports at their addresses, and pods reach the test at
// [Cluster.HostIP], nothing else. Images are made by [Image] from static
// binaries; nothing is pulled.
//
// What a usual cluster has and this one has not: a network plugin that enforces
// NetworkPolicies, a provisioner of volumes, metrics-server, a load balancer.
//
// It needs Linux, root and the programs runc, iptables, ip and unshare, and the
// network plugins bridge, host-local, loopback and portmap: Debian's packages
// runc, iptables, iproute2, util-linux and containernetworking-plugins.
// Clusters of several tests that run at the same time follow one another.
package cluster
