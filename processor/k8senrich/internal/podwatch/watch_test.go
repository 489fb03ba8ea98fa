// SPDX-License-Identifier: Apache-2.0

package podwatch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The waits double from half a second to ten, each shortened by up to a half,
// and start anew after a minute without any.
func TestBackoff(t *testing.T) {
	var b backoff
	for _, most := range []time.Duration{500, 1000, 2000, 4000, 8000, 10_000, 10_000} {
		wait := b.wait()
		assert.LessOrEqual(t, wait, most*time.Millisecond)
		assert.GreaterOrEqual(t, wait, most*time.Millisecond/2)
	}
	b.last = time.Now().Add(-quiet - time.Second)
	assert.LessOrEqual(t, b.wait(), firstWait)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.False(t, b.sleep(ctx))
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is lost and found is said once each, however many attempts there are.
func TestSaidOnce(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	var lost, back, afterEnd, afterError int
	w := New(Settings{
		Key:    "pod_association",
		Logger: zap.New(core),
		Lost:   func(error) { lost++ },
		Back:   func() { back++ },
		Restarted: func(failed bool) {
			if failed {
				afterError++
			} else {
				afterEnd++
			}
		},
	})
	away := errors.New("connection refused")
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)

	w.watching(false)
	w.watching(false)
	assert.Equal(t, []int{0, 0, 1, 0}, []int{lost, back, afterEnd, afterError})
	assert.Zero(t, logs.Len(), "the server ends a watch now and then")

	for range 10 {
		w.failed(away)
	}
	assert.Equal(t, 1, logs.Len())
	w.failed(forbidden) // as a server says that has just started
	w.failed(away)
	w.failed(forbidden)
	w.failed(forbidden)
	assert.Equal(t, 1, logs.Len())
	for range 10 {
		w.failed(forbidden)
	}
	assert.Equal(t, 2, logs.Len(), "a reason that stays is said")
	w.watching(false)
	w.watching(false)
	assert.Equal(t, 3, logs.Len())
	assert.Equal(t, []int{1, 1, 2, 1}, []int{lost, back, afterEnd, afterError})

	w.failed(away)
	assert.Equal(t, 4, logs.Len(), "another outage")
	assert.Equal(t, 2, lost)
}

// What is known is too old when nothing was heard for so long, until a list is there
// or a watch that goes on from where the last one was cut.
func TestStale(t *testing.T) {
	now := time.Unix(1000, 0)
	w := New(Settings{
		Logger: zap.NewNop(), Now: func() time.Time { return now },
		Lost: func(error) {}, Back: func() {}, Restarted: func(bool) {},
	})
	w.LimitStaleness(time.Minute)
	w.LimitStaleness(time.Hour)
	assert.False(t, w.Stale())
	assert.False(t, w.Watching(), "not begun")
	w.watching(false)
	assert.True(t, w.Watching())
	lose := func() {
		now = now.Add(time.Hour)
		w.failed(errors.New("connection refused"))
		assert.False(t, w.Stale(), "heard a moment ago")
		assert.False(t, w.Watching())
		now = now.Add(time.Minute)
		w.failed(errors.New("connection refused"))
		assert.False(t, w.Stale())
		now = now.Add(time.Nanosecond)
		assert.True(t, w.Stale())
	}
	lose()
	w.watching(false)
	assert.False(t, w.Stale())
	lose()
	w.watching(true)
	assert.True(t, w.Stale(), "the list is still to come")
	w.listed(0)
	assert.False(t, w.Stale())
}
