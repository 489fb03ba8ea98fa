// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// Namespace makes a namespace with its default ServiceAccount, which a
// controller makes elsewhere and without which no pod is admitted.
func (c *Cluster) Namespace(tb testing.TB, name string) {
	tb.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.Client.CoreV1().Namespaces().Create(tb.Context(), ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		tb.Fatalf("make namespace %s: %v", name, err)
	}
	c.ServiceAccount(tb, name, "default")
}

// ServiceAccount makes a ServiceAccount, unless there is one.
func (c *Cluster) ServiceAccount(tb testing.TB, namespace, name string) {
	tb.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	_, err := c.Client.CoreV1().ServiceAccounts(namespace).Create(tb.Context(), account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		tb.Fatalf("make ServiceAccount %s/%s: %v", namespace, name, err)
	}
}

// Node makes a node with labels.
func (c *Cluster) Node(tb testing.TB, name string, labels map[string]string) *corev1.Node {
	tb.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	node, err := c.Client.CoreV1().Nodes().Create(tb.Context(), node, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("make node: %v", err)
	}
	return node
}

// ReplicaSet makes a Deployment and its ReplicaSet, whose name is
// the Deployment's and "-7d9c8f6b5".
func (c *Cluster) ReplicaSet(tb testing.TB, namespace, deployment string) *appsv1.ReplicaSet {
	tb.Helper()
	labels := map[string]string{"app": deployment}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	d, err := c.Client.AppsV1().Deployments(namespace).Create(tb.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: deployment, Namespace: namespace},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("make Deployment: %v", err)
	}
	r, err := c.Client.AppsV1().ReplicaSets(namespace).Create(tb.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: deployment + "-7d9c8f6b5", Namespace: namespace,
			OwnerReferences: []metav1.OwnerReference{owner("Deployment", d.Name, d)},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("make ReplicaSet: %v", err)
	}
	return r
}

func owner(kind, name string, of metav1.Object) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: name, UID: of.GetUID(), Controller: &yes}
}

// Pod makes a pod and lets it run: the kubelet's part of its status, phase,
// addresses, and the state and resources of each container, is filled in. Images that are not
// named are "app". With a ReplicaSet the pod is one of that.
func (c *Cluster) Pod(tb testing.TB, pod *corev1.Pod, ip string, of *appsv1.ReplicaSet) *corev1.Pod {
	tb.Helper()
	made, err := c.makePod(tb, pod, ip, of)
	if err != nil {
		tb.Fatalf("make pod %s/%s: %v", pod.Namespace, pod.Name, err)
	}
	return made
}

func (c *Cluster) makePod(tb testing.TB, pod *corev1.Pod, ip string, of *appsv1.ReplicaSet) (*corev1.Pod, error) {
	pod = pod.DeepCopy()
	if of != nil {
		pod.OwnerReferences = []metav1.OwnerReference{owner("ReplicaSet", of.Name, of)}
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = "app"
			}
		}
	}
	pods := c.Client.CoreV1().Pods(pod.Namespace)
	pod, err := pods.Create(tb.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.StartTime = &pod.CreationTimestamp
	if ip != "" {
		pod.Status.PodIP = ip
		pod.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	for _, container := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, Ready: true,
			Resources: &container.Resources, AllocatedResources: container.Resources.Requests,
			ContainerID: fmt.Sprintf("containerd://%s-%s", pod.UID, container.Name),
			State:       corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: pod.CreationTimestamp}},
		})
	}
	return pods.UpdateStatus(tb.Context(), pod, metav1.UpdateOptions{})
}

// DeletePod deletes a pod at once: there is no kubelet to wait for.
func (c *Cluster) DeletePod(tb testing.TB, pod *corev1.Pod) {
	tb.Helper()
	now := int64(0)
	err := c.Client.CoreV1().Pods(pod.Namespace).Delete(tb.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil {
		tb.Fatalf("delete pod %s/%s: %v", pod.Namespace, pod.Name, err)
	}
}

// Token asks for a token of a ServiceAccount (TokenRequest) and returns it with
// a function that makes it invalid, as its expiry would. It is bound to a Secret
// and is worth nothing when that is gone; API servers remember good tokens for
// up to ten seconds.
func (c *Cluster) Token(tb testing.TB, namespace, account string) (token string, revoke func()) {
	tb.Helper()
	secrets := c.Client.CoreV1().Secrets(namespace)
	secret, err := secrets.Create(tb.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "token-"}}, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("make the token's Secret: %v", err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: secret.Name, UID: secret.UID},
	}}
	request, err = c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(tb.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("ask for a token of %s/%s: %v", namespace, account, err)
	}
	return request.Status.Token, func() {
		tb.Helper()
		if err := secrets.Delete(tb.Context(), secret.Name, metav1.DeleteOptions{}); err != nil {
			tb.Fatalf("revoke the token: %v", err)
		}
	}
}

// Apply makes the objects of a file of YAML documents: Namespaces,
// ServiceAccounts, ClusterRoles and ClusterRoleBindings. Each of change may
// alter an object, or leave it out by returning false.
func (c *Cluster) Apply(tb testing.TB, file string, change ...func(object any) bool) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		keep := true
		for _, f := range change {
			keep = keep && f(object)
		}
		if keep {
			c.create(tb, file, object)
		}
	}
}

func (c *Cluster) create(tb testing.TB, file string, object any) {
	tb.Helper()
	var err error
	switch o := object.(type) {
	case *corev1.Namespace:
		c.Namespace(tb, o.Name)
	case *corev1.ServiceAccount:
		c.ServiceAccount(tb, o.Namespace, o.Name)
	case *rbacv1.ClusterRole:
		_, err = c.Client.RbacV1().ClusterRoles().Create(tb.Context(), o, metav1.CreateOptions{})
	case *rbacv1.ClusterRoleBinding:
		_, err = c.Client.RbacV1().ClusterRoleBindings().Create(tb.Context(), o, metav1.CreateOptions{})
	default:
		err = errors.New("kubetest does not know how to make this kind")
	}
	if err != nil {
		tb.Fatalf("%s: make %T: %v", file, object, err)
	}
}
