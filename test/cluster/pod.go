// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
)

// Pods returns the pods of a namespace that a selector chooses and that are not
// about to end.
func (c *Cluster) Pods(tb testing.TB, namespace, selector string) []corev1.Pod {
	tb.Helper()
	list, err := c.Client.CoreV1().Pods(namespace).List(tb.Context(), metav1.ListOptions{LabelSelector: selector})
	fatal(tb, err)
	var pods []corev1.Pod
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			pods = append(pods, list.Items[i])
		}
	}
	return pods
}

// Container is a running container, seen from the machine.
type Container struct {
	// PID is its first process.
	PID int
	// cgroups has, for each controller, the folder of the container.
	cgroups map[string]string
}

// Container finds the running container of a pod.
func (c *Cluster) Container(tb testing.TB, pod *corev1.Pod, name string) Container {
	tb.Helper()
	var id string
	for _, status := range append(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses...) {
		if status.Name == name {
			id = strings.TrimPrefix(status.ContainerID, "containerd://")
		}
	}
	if id == "" {
		tb.Fatalf("pod %s has no running container %s", pod.Name, name)
	}
	found := Container{cgroups: map[string]string{}}
	for _, top := range []string{"", "memory", "cpu"} {
		_ = filepath.WalkDir(filepath.Join("/sys/fs/cgroup", top, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == id {
				found.cgroups[top] = path
				return fs.SkipAll
			}
			return nil // folders come and go
		})
	}
	for _, proc := range strings.Fields(found.control(tb, "memory", "cgroup.procs", "cgroup.procs")) {
		pid, err := strconv.Atoi(proc)
		fatal(tb, err)
		ids, err := processStatus(pid, "NSpid") // here, on the node, in the pod
		if fields := strings.Fields(ids); err == nil && len(fields) > 0 && fields[len(fields)-1] == "1" {
			found.PID = pid // the others are of probes
			return found
		}
	}
	tb.Fatalf("container %s of pod %s has no first process", name, pod.Name)
	return found
}

func processStatus(pid int, field string) (string, error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", errors.New("no " + field + " in the status of process " + strconv.Itoa(pid))
}

// control reads a file of a controller, whose name depends on the version of
// control groups.
func (c Container) control(tb testing.TB, controller, v1, v2 string) string {
	tb.Helper()
	file := filepath.Join(c.cgroups[controller], v1)
	if folder, ok := c.cgroups[""]; ok {
		file = filepath.Join(folder, v2)
	}
	raw, err := os.ReadFile(file)
	fatal(tb, err)
	return strings.TrimSpace(string(raw))
}

// MemoryLimit returns the limit that the kernel holds the container to, in bytes.
func (c Container) MemoryLimit(tb testing.TB) int {
	tb.Helper()
	n, err := strconv.Atoi(c.control(tb, "memory", "memory.limit_in_bytes", "memory.max"))
	fatal(tb, err)
	return n
}

// CPULimit returns the limit that the kernel holds the container to, in CPUs.
func (c Container) CPULimit(tb testing.TB) float64 {
	tb.Helper()
	text := c.control(tb, "cpu", "cpu.cfs_quota_us", "cpu.max")
	if _, ok := c.cgroups[""]; !ok {
		text += " " + c.control(tb, "cpu", "cpu.cfs_period_us", "")
	}
	quota, period, _ := strings.Cut(text, " ")
	part, err := strconv.ParseFloat(quota, 64)
	fatal(tb, err)
	whole, err := strconv.ParseFloat(period, 64)
	fatal(tb, err)
	return part / whole
}

// Status returns a field of the state of its first process.
func (c Container) Status(tb testing.TB, field string) string {
	tb.Helper()
	value, err := processStatus(c.PID, field)
	fatal(tb, err)
	return value
}

// File returns the path by which the machine reaches a file of the container.
func (c Container) File(name string) string {
	return filepath.Join("/proc", strconv.Itoa(c.PID), "root", name)
}

// AwaitReady waits until as many pods as wanted, and no others, are there and
// ready, and returns them.
func (c *Cluster) AwaitReady(tb testing.TB, namespace, selector string, want int) []corev1.Pod {
	tb.Helper()
	var pods []corev1.Pod
	harness.AwaitFor(tb, patience, "pods "+selector+" are not ready", func() error {
		list, err := c.Client.CoreV1().Pods(namespace).List(tb.Context(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		pods = list.Items
		if len(pods) != want {
			return errors.New("there are " + strconv.Itoa(len(pods)))
		}
		for i := range pods {
			if !ready(&pods[i]) {
				return errors.New(pods[i].Name + " is not: " + describe(&pods[i]))
			}
		}
		return nil
	})
	return pods
}

func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

func describe(pod *corev1.Pod) string {
	text := []string{string(pod.Status.Phase)}
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if w := status.State.Waiting; w != nil {
			text = append(text, status.Name+": "+w.Reason+" "+w.Message)
		}
	}
	return strings.Join(text, ", ")
}
