// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package kubetest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/kubetest"
)

func TestCluster(t *testing.T) {
	c := kubetest.Start(t)
	version, err := c.Client.Discovery().ServerVersion()
	require.NoError(t, err)
	assert.Equal(t, "1", version.Major)
	assert.Equal(t, "36", version.Minor)

	c.Node(t, "node-1", map[string]string{"topology.kubernetes.io/zone": "z1"})
	c.Namespace(t, "shop")
	rs := c.ReplicaSet(t, "shop", "web")
	pod := c.Pod(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", GenerateName: rs.Name + "-", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "app"}}},
	}, "127.0.0.9", rs)
	assert.Equal(t, "127.0.0.9", pod.Status.PodIP)
	assert.Equal(t, rs.UID, pod.OwnerReferences[0].UID)

	// RBAC is on: an account may do nothing that it is not granted.
	token, revoke := c.Token(t, "shop", "default")
	client, err := kubernetes.NewForConfig(c.Config(token))
	require.NoError(t, err)
	_, err = client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	revoke()
	harness.Await(t, "the token is worth nothing", func() error {
		_, err := client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
		if apierrors.IsUnauthorized(err) {
			return nil
		}
		return err
	})

	// What was there is there after a restart, at the same address.
	c.KillAPIServer()
	c.KillEtcd()
	c.StartEtcd(t)
	c.StartAPIServer(t)
	got, err := c.Client.CoreV1().Pods("shop").Get(t.Context(), pod.Name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, pod.UID, got.UID)

	// A version that was forgotten cannot be watched from.
	c.CompactEtcd(t)
	_, err = c.Client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{
		ResourceVersion: pod.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact,
	})
	require.True(t, apierrors.IsResourceExpired(err), "%v", err)

	c.DeletePod(t, pod)
	_, err = c.Client.CoreV1().Pods("shop").Get(t.Context(), pod.Name, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestLink(t *testing.T) {
	c := kubetest.Start(t)
	link := c.Link(t)
	cfg := c.Config("admin")
	cfg.Host = "https://" + link.Address
	client, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	list := func() error {
		_, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		return err
	}
	require.NoError(t, list())
	link.Cut()
	require.Error(t, list())
	link.Mend(t)
	harness.Await(t, "the link carries again", list)
}
