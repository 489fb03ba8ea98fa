// SPDX-License-Identifier: Apache-2.0

// Package podwatch keeps the limits and requests of pods at hand, up to date
// by a watch of the Kubernetes API server.
//
// The watch is client-go's reflector, which knows how to begin from a list or
// a stream, go on where it was cut, and begin anew when the server has
// forgotten where that was. What is kept of a pod is little, see [Store]. While
// the API server is away what was known last is served.
package podwatch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// The waits between attempts. The longest is what a cluster whose API
	// server is back waits for its limits, and at most as often does each
	// collector of a large cluster call an API server that is in trouble.
	firstWait = 500 * time.Millisecond
	maxWait   = 10 * time.Second
	quiet     = time.Minute

	stays = 3 // attempts that fail alike

	// Pods arrive whole, some 100 times the size of what is kept of them. After
	// a list of so many the memory that they took is given back to the system,
	// when the reflector has dropped what it still holds of them; by itself Go
	// would keep it until the heap has doubled some other way.
	manyPods     = 1000
	giveBackWait = time.Second
)

// Settings of a Watcher.
type Settings struct {
	Auth Auth
	// NodeEnvVar names an environment variable with the name of a node whose
	// pods alone are watched; empty: all pods.
	NodeEnvVar string
	Logger     *zap.Logger

	// Key names in messages the block of the configuration that asks for it.
	Key string
	// Lost is called when the API server cannot be reached or refuses, once;
	// Back when it answers again, once.
	Lost func(error)
	Back func()
	// Restarted is called when the watch was begun again; afterError tells
	// whether something had gone wrong before.
	Restarted func(afterError bool)

	LookupEnv func(string) string // of NodeEnvVar
	Now       func() time.Time    // nil: the clock
}

// Watcher keeps a Store up to date.
type Watcher struct {
	Pods *Store

	set    Settings
	node   string
	cancel context.CancelFunc
	done   chan struct{}

	maxStaleness time.Duration // set before Start
	lostSince    atomic.Int64  // in ns since 1970, 0 while nothing is lost

	mu      sync.Mutex
	lost    bool
	kind    metav1.StatusReason // of the error said last
	other   metav1.StatusReason // of the error seen last, if it is another
	others  int                 // how often in a row
	begun   bool                // a watch has been begun
	failing bool                // an error since the watch was begun

	giveBack *time.Timer
}

// New returns a Watcher that knows no pods.
func New(set Settings) *Watcher {
	if set.Now == nil {
		set.Now = time.Now
	}
	w := &Watcher{set: set, maxStaleness: math.MaxInt64}
	w.Pods = newStore(set.Now, w.listed)
	return w
}

// LimitStaleness has [Watcher.Stale] say yes when the API server has told nothing for
// so long. It must not be called after Start. The shortest of several times counts.
func (w *Watcher) LimitStaleness(limit time.Duration) {
	w.maxStaleness = min(w.maxStaleness, limit)
}

// Stale tells whether what is known of the pods is too old to tell who has an address.
func (w *Watcher) Stale() bool {
	since := w.lostSince.Load()
	return since != 0 && w.set.Now().UnixNano()-since > int64(w.maxStaleness)
}

// Watching tells whether the API server tells of changes: the watch has begun and
// is not lost.
func (w *Watcher) Watching() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun && !w.lost
}

// Start begins to watch in the background. It does not wait for the API
// server. It is an error if credentials are asked for that are not there, and if the
// variable with the node's name is empty, since each of a thousand agents would watch
// all pods then.
func (w *Watcher) Start() error {
	c, err := newClient(w.set.Auth)
	if errors.As(err, new(notConfigured)) {
		if w.set.Auth != None {
			return fmt.Errorf("%s: auth_type: no cluster for %q here: %w; "+
				"serviceAccount is for pods with a token, kubeConfig for $KUBECONFIG: set it for k8s_attributes and for each block of k8senrich; "+
				"where there is no cluster take configs/sidecar.yaml", w.set.Key, string(w.set.Auth), err)
		}
		w.set.Logger.Warn(w.set.Key+": no cluster here; telemetry passes without what is known of pods", zap.Error(err))
		return nil
	}
	if w.set.NodeEnvVar != "" {
		if w.node = w.set.LookupEnv(w.set.NodeEnvVar); w.node == "" {
			return errors.New(w.set.Key + ": node_from_env_var: variable " + w.set.NodeEnvVar +
				" is not set; give it the node's name, in a pod from fieldRef spec.nodeName")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	// client-go writes what goes wrong to standard error. Said here instead:
	// once, and in the collector's own log.
	ctx = klog.NewContext(ctx, logr.Discard())
	w.cancel = cancel
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		w.run(ctx, c, err)
	}()
	return nil
}

// Shutdown ends the watch and waits for that as long as ctx lasts.
func (w *Watcher) Shutdown(ctx context.Context) error {
	if w.cancel == nil {
		return nil
	}
	w.cancel()
	w.mu.Lock()
	if w.giveBack != nil {
		w.giveBack.Stop()
	}
	w.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listed is called when a list of pods is in the Store.
func (w *Watcher) listed(pods int) {
	w.lostSince.Store(0)
	w.set.Logger.Info(w.set.Key+": pods are known", zap.Int("pods", pods))
	if pods < manyPods {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.giveBack != nil {
		w.giveBack.Stop()
	}
	w.giveBack = time.AfterFunc(giveBackWait, debug.FreeOSMemory)
}

// run watches until ctx ends. A client that could not be made is tried again:
// a file that it needs may come later.
func (w *Watcher) run(ctx context.Context, c *client, err error) {
	wait := backoff{}
	for c == nil {
		w.failed(err)
		if !wait.sleep(ctx) {
			return
		}
		c, err = newClient(w.set.Auth)
	}
	defer c.close()
	r := cache.NewReflectorWithOptions(w.listerWatcher(c, &wait), &corev1.Pod{}, w.Pods,
		cache.ReflectorOptions{Name: "k8senrich", TypeDescription: "pods"})
	for {
		// Its errors are known from calls, where they are not yet mixed with
		// those that belong to the protocol.
		_ = r.ListAndWatchWithContext(ctx)
		if !wait.sleep(ctx) {
			return
		}
	}
}

// listerWatcher makes the reflector's requests for pods.
func (w *Watcher) listerWatcher(c *client, wait *backoff) cache.ListerWatcher {
	pods := c.pods.Pods(metav1.NamespaceAll)
	only := func(options *metav1.ListOptions) {
		if w.node != "" {
			options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", w.node).String()
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (list runtime.Object, err error) {
			only(&options)
			err = w.call(ctx, wait, func() error {
				list, err = pods.List(ctx, options)
				return err
			})
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (stream watch.Interface, err error) {
			only(&options)
			fromList := options.SendInitialEvents != nil && *options.SendInitialEvents
			err = w.call(ctx, wait, func() error {
				if stream, err = pods.Watch(ctx, options); err == nil && !fromList && w.Stale() {
					// Only a list tells at once what has changed meanwhile.
					stream.Stop()
					return apierrors.NewResourceExpired("stale")
				}
				return err
			})
			if err == nil {
				w.watching(fromList)
			}
			return stream, err
		},
	}
}

// call makes a request until the API server has answered it. The reflector
// would begin from a list after most errors, of a server that has just come
// back and of all clients at once, and after some it waits up to a minute in a
// way that the end of the collector does not interrupt.
func (w *Watcher) call(ctx context.Context, wait *backoff, request func() error) error {
	for {
		err := request()
		if err == nil || ctx.Err() != nil || isProtocol(err) {
			return err
		}
		w.failed(err)
		if !wait.sleep(ctx) {
			return ctx.Err()
		}
	}
}

// isProtocol tells whether an error is an answer that the reflector knows how
// to deal with: the server is older than lists that are streamed, has forgotten
// the point to go on from, or lags behind it.
func isProtocol(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// failed says that the API server is away: once, and again if it stays away
// for another reason. One that is just starting gives several.
func (w *Watcher) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = true
	w.lostSince.CompareAndSwap(0, w.set.Now().UnixNano())
	kind := apierrors.ReasonForError(err)
	if w.lost {
		if kind == w.kind {
			w.others = 0
			return
		}
		if kind != w.other {
			w.other, w.others = kind, 0
		}
		if w.others++; w.others < stays {
			return
		}
	}
	first := !w.lost
	w.lost, w.kind, w.others = true, kind, 0
	what := w.set.Key + ": pods cannot be watched; what is known of them serves on"
	if apierrors.IsForbidden(err) {
		what += "; list and watch on pods must be granted"
	}
	w.set.Logger.Warn(what, zap.Int("pods", w.Pods.Len()), zap.Error(err))
	if first {
		w.set.Lost(err)
	}
}

// watching says that the API server answers, maybe with a list first.
func (w *Watcher) watching(fromList bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !fromList {
		w.lostSince.Store(0)
	}
	if w.begun {
		w.set.Restarted(w.failing)
	}
	w.begun, w.failing = true, false
	if w.lost {
		w.lost = false
		w.set.Logger.Info(w.set.Key + ": pods are watched again")
		w.set.Back()
	}
}

// backoff gives growing waits with jitter, which start anew after a while of
// quiet. The reflector lists in a goroutine of its own and does not wait for it
// when it ends, so there may be two that wait.
type backoff struct {
	mu   sync.Mutex
	next time.Duration
	last time.Time // when the last wait ended
}

// sleep returns false if ctx ended.
func (b *backoff) sleep(ctx context.Context) bool {
	timer := time.NewTimer(b.wait())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *backoff) wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Sub(b.last) > quiet {
		b.next = firstWait
	}
	wait := b.next/2 + rand.N(b.next/2) //nolint:gosec // jitter is no secret
	b.next = min(2*b.next, maxWait)
	b.last = now.Add(wait)
	return wait
}
