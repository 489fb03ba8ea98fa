// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fakeAPI is the part of an API server that the pods are watched through, over
// real HTTP, so that connections can be cut and answers refused at will. That
// the real one behaves so is tested against the real one, see e2e_test.go.
type fakeAPI struct {
	t       testing.TB
	address string

	mu       sync.Mutex
	server   *httptest.Server
	version  int
	pods     map[string]*corev1.Pod
	watchers map[chan event]url.Values
	requests []string // "list" or "watch" or "stream" (a list that is streamed)
	old      bool     // knows no lists that are streamed
	refuse   int      // the code that all requests are answered with
	expired  bool     // has forgotten all versions to go on from
}

type event struct {
	Type   string `json:"type"`
	Object any    `json:"object"`
}

// newFakeAPI starts a server and points KUBECONFIG at it.
func newFakeAPI(t testing.TB, pods ...*corev1.Pod) *fakeAPI {
	f := &fakeAPI{t: t, version: 100, pods: map[string]*corev1.Pod{}, watchers: map[chan event]url.Values{}}
	for _, pod := range pods {
		f.put(pod)
	}
	f.up()
	t.Cleanup(f.down)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
apiVersion: v1
kind: Config
clusters: [{name: fake, cluster: {server: "https://%s", certificate-authority-data: %s}}]
users: [{name: me, user: {token: secret}}]
contexts: [{name: it, context: {cluster: fake, user: me}}]
current-context: it
`, f.address, base64.StdEncoding.EncodeToString(ca)), 0o600))
	t.Setenv("KUBECONFIG", file)
	return f
}

// up starts the server, always at the same address.
func (f *fakeAPI) up() {
	address := f.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(f.t.Context(), "tcp", address)
	require.NoError(f.t, err)
	f.address = l.Addr().String()
	s := httptest.NewUnstartedServer(f)
	s.Listener.Close()
	s.Listener = l
	s.Config.ErrorLog = zap.NewStdLog(zap.NewNop()) // connections are cut on purpose
	s.EnableHTTP2 = true
	s.StartTLS()
	f.mu.Lock()
	f.server = s
	f.mu.Unlock()
}

// down cuts all connections.
func (f *fakeAPI) down() {
	f.mu.Lock()
	s := f.server
	f.server = nil
	f.mu.Unlock()
	if s != nil {
		s.CloseClientConnections()
		f.cut()
		s.Close()
	}
}

// cut ends all watches as the server does from time to time.
func (f *fakeAPI) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		close(w)
	}
	clear(f.watchers)
}

// tell sends an event to all watches whatever the state.
func (f *fakeAPI) tell(e event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w <- e
	}
}

func (f *fakeAPI) set(change func(*fakeAPI)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// put makes or changes a pod.
func (f *fakeAPI) put(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what := "MODIFIED"
	if f.pods[string(pod.UID)] == nil {
		what = "ADDED"
	}
	f.change(what, pod)
	f.pods[string(pod.UID)] = pod
}

func (f *fakeAPI) remove(uid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pod := f.pods[uid]
	delete(f.pods, uid)
	f.change("DELETED", pod)
}

func (f *fakeAPI) change(what string, pod *corev1.Pod) {
	f.version++
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	pod.ResourceVersion = strconv.Itoa(f.version)
	for w, query := range f.watchers {
		if selected(query, pod) {
			w <- event{what, pod.DeepCopy()}
		}
	}
}

// seen returns the requests so far.
func (f *fakeAPI) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func selected(query url.Values, pod *corev1.Pod) bool {
	node, only := strings.CutPrefix(query.Get("fieldSelector"), "spec.nodeName=")
	return !only || pod.Spec.NodeName == node
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	stream := query.Get("sendInitialEvents") == "true"
	f.mu.Lock()
	kind := "list"
	switch {
	case stream:
		kind = "stream"
	case query.Get("watch") == "true":
		kind = "watch"
	}
	f.requests = append(f.requests, kind)
	status := func(code int, reason metav1.StatusReason) {
		f.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Code: int32(code), Reason: reason, Message: "no: " + string(reason),
		})
	}
	switch {
	case r.URL.Path != "/api/v1/pods":
		status(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	case r.Header.Get("Authorization") != "Bearer secret":
		status(http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
		return
	case f.refuse != 0:
		status(f.refuse, metav1.StatusReasonForbidden)
		return
	case stream && f.old:
		status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
		return
	case kind != "list" && query.Get("resourceVersion") != "" && f.expired:
		f.expired = false
		status(http.StatusGone, metav1.StatusReasonExpired)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if kind == "list" {
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		list.ResourceVersion = strconv.Itoa(f.version)
		for _, pod := range f.pods {
			if selected(query, pod) {
				list.Items = append(list.Items, *pod.DeepCopy())
			}
		}
		f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(list)
		return
	}
	events := make(chan event, len(f.pods)+10_000)
	from, _ := strconv.Atoi(query.Get("resourceVersion"))
	for _, pod := range f.pods {
		if version, _ := strconv.Atoi(pod.ResourceVersion); selected(query, pod) && (stream || version > from) {
			events <- event{"ADDED", pod.DeepCopy()}
		}
	}
	if stream {
		mark := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
		mark.ResourceVersion = strconv.Itoa(f.version)
		mark.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		events <- event{"BOOKMARK", mark}
	}
	f.watchers[events] = query
	f.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	encoder := json.NewEncoder(w)
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			f.set(func(f *fakeAPI) { delete(f.watchers, events) })
			return
		case e, ok := <-events:
			if !ok || encoder.Encode(e) != nil {
				return
			}
		}
	}
}
