// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
)

// app is a Deployment of one pod of the test's app.
type app struct {
	name   string
	labels map[string]string // of the pod, beside app
	cpu    string
	memory string
	env    map[string]string

	s   *suite
	pod corev1.Pod
}

// env is written with what the Downward API knows: NODE_IP and POD_UID.
func (a *app) yaml() string {
	labels := "app: " + a.name + ", test/app: \"\""
	for k, v := range a.labels {
		labels += fmt.Sprintf(", %s: %q", k, v)
	}
	var env strings.Builder
	for k, v := range a.env {
		fmt.Fprintf(&env, "            - {name: %s, value: %q}\n", k, v)
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {otelcol-custom/sidecar: app}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {%[3]s}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 30
      volumes:
        - name: ca
          configMap: {name: ca, optional: true}
      containers:
        - name: app
          image: app:test
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}
          volumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]
          resources:
            requests: {cpu: 10m, memory: 16Mi}
            limits: {cpu: %[4]s, memory: %[5]s}
          securityContext:
            runAsNonRoot: true
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
            seccompProfile: {type: RuntimeDefault}
          env:
            - name: NODE_IP
              valueFrom: {fieldRef: {fieldPath: status.hostIP}}
            - name: POD_UID
              valueFrom: {fieldRef: {fieldPath: metadata.uid}}
            - {name: OTEL_SERVICE_NAME, value: %[1]s}
%[6]s`, a.name, appSpace, labels, a.cpu, a.memory, env.String())
}

// deploy deploys an app until the test ends.
func (s *suite) deploy(t *testing.T, a *app) {
	t.Helper()
	s.Apply(t, a.yaml())
	t.Cleanup(func() {
		s.tell(t)
		_, err := s.TryKubectl(t, "", "delete", "deployment", a.name, "-n", appSpace, "--cascade=foreground", "--timeout=2m")
		require.NoError(t, err)
	})
	s.await(t, a)
}

// await waits for the pod of an app.
func (s *suite) await(t *testing.T, a *app) {
	t.Helper()
	a.s = s
	a.pod = s.AwaitReady(t, appSpace, "app="+a.name, 1)[0]
}

// call calls the app and returns what it answers.
func (a *app) call(method, path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.pod.Status.PodIP+":8080"+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, raw)
	}
	return string(raw), err
}

func (a *app) must(t *testing.T, method, path string) string {
	t.Helper()
	out, err := a.call(method, path)
	require.NoError(t, err, "%s of %s", path, a.name)
	return out
}

// send makes traces, two spans each, and returns when they are acknowledged.
func (a *app) send(t *testing.T, traces int) {
	t.Helper()
	a.must(t, http.MethodPost, "/spans?n="+strconv.Itoa(traces))
}

// rate makes so many traces a second from now on.
func (a *app) rate(t *testing.T, n int) {
	t.Helper()
	a.must(t, http.MethodPost, "/rate?n="+strconv.Itoa(n))
}

// acknowledged returns the ids of the spans that were acknowledged so far.
func (a *app) acknowledged(t *testing.T) []string {
	t.Helper()
	return strings.Fields(a.must(t, http.MethodGet, "/acknowledged"))
}

// awaitDelivered ends the load and waits until all spans are acknowledged, and
// the backend has them.
func awaitDelivered(t *testing.T, b *otlpserver.Server, apps []*app) {
	t.Helper()
	for _, a := range apps {
		a.rate(t, 0)
	}
	for _, a := range apps {
		a.settle(t)
		awaitIDs(t, b, a.name, a.acknowledged(t))
	}
}

// awaitIDs waits until the backend has these spans.
func awaitIDs(t *testing.T, b *otlpserver.Server, name string, acked []string) {
	t.Helper()
	require.NotEmpty(t, acked)
	harness.AwaitFor(t, patience, "spans of "+name+" are acknowledged and not delivered", func() error {
		got := b.SpanIDs()
		missing := 0
		for _, id := range acked {
			if got[id] == 0 {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d are missing", missing, len(acked))
		}
		return nil
	})
	t.Logf("%s: %d spans acknowledged so far, all delivered", name, len(acked))
}

// acknowledgedAfter waits for so many more acknowledgements and returns all.
func (a *app) acknowledgedAfter(t *testing.T, more int) []string {
	t.Helper()
	before := len(a.acknowledged(t))
	var acked []string
	harness.Await(t, "acknowledgements of "+a.name, func() error {
		if acked = a.acknowledged(t); len(acked) < before+more {
			return errNotYet
		}
		return nil
	})
	return acked
}

// settle waits until all that was made is acknowledged.
func (a *app) settle(t *testing.T) {
	t.Helper()
	var before string
	harness.AwaitFor(t, patience, a.name+" waits for acknowledgements", func() error {
		made := strings.TrimSpace(a.must(t, http.MethodGet, "/made"))
		if acked := len(a.acknowledged(t)); made != strconv.Itoa(acked) || made != before {
			before = made
			return fmt.Errorf("%d of %s spans are acknowledged; %s", acked, made, a.must(t, http.MethodGet, "/error"))
		}
		return nil
	})
}

// resources returns the attributes of each resource that the backend has spans of
// from an app, from that batch on.
func (a *app) resources(b *otlpserver.Server, from int) []map[string]any {
	var all []map[string]any
	for _, td := range b.Traces.AllTraces()[from:] {
		for _, rs := range td.ResourceSpans().All() {
			attributes := rs.Resource().Attributes().AsRaw()
			if attributes["service.name"] == a.name {
				all = append(all, attributes)
			}
		}
	}
	return all
}

// awaitResource waits until the newest spans of the app have these attributes.
func (a *app) awaitResource(t *testing.T, b *otlpserver.Server, want map[string]any) {
	t.Helper()
	harness.AwaitFor(t, patience, "spans of "+a.name, func() error {
		a.send(t, 1)
		all := a.resources(b, 0)
		if len(all) == 0 {
			return errors.New("none has come")
		}
		return differ(want, all[len(all)-1])
	})
}

var errNotYet = errors.New("not yet")

// differ tells which attributes are other than wanted; "" is an attribute that
// must not be there.
func differ(want, got map[string]any) error {
	var wrong []string
	for name, value := range want {
		have, ok := got[name]
		if !ok {
			have = ""
		}
		if have != value {
			wrong = append(wrong, fmt.Sprintf("%s is %v and not %v", name, have, value))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s in %v", strings.Join(wrong, "; "), got)
}

// awaitSpans waits until the backend has so many spans of the app, from that batch on.
func (a *app) awaitSpans(t *testing.T, b *otlpserver.Server, from, want int) {
	t.Helper()
	harness.AwaitFor(t, patience, "spans of "+a.name, func() error {
		got := 0
		for _, td := range b.Traces.AllTraces()[from:] {
			for _, rs := range otlpserver.Spans(td) {
				if name, _ := rs.Resource().Attributes().Get("service.name"); name.AsString() == a.name {
					got++
				}
			}
		}
		if got < want {
			return fmt.Errorf("%d of %d have come", got, want)
		}
		return nil
	})
}
