// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	exportermetadata "github.com/otelcol-custom/otelcol-custom/exporter/jaegerexporter/internal/metadata"
)

// queued is a configuration with a queue on disk and one consumer.
func queued(address string) map[string]any {
	return map[string]any{
		"endpoint":         address,
		"tls":              map[string]any{"insecure": true},
		"sending_queue":    map[string]any{"storage": "file_storage", "num_consumers": 1},
		"retry_on_failure": map[string]any{"initial_interval": "1ms", "max_interval": "1ms", "max_elapsed_time": 0},
	}
}

// life is an exporter over a storage on disk, which outlives it.
type life struct {
	exporter exporter.Traces
	storage  component.Component
}

func begin(t *testing.T, directory string, conf map[string]any) *life {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"directory": directory}).Unmarshal(cfg))
	storage, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	h := &host{extensions: map[component.ID]component.Component{component.NewID(factory.Type()): storage}}
	require.NoError(t, storage.Start(t.Context(), h))
	set := exportertest.NewNopSettings(exportermetadata.Type)
	set.ID = component.NewID(exportermetadata.Type) // by which the queue is found again
	e, err := NewFactory().CreateTraces(t.Context(), set, load(t, conf))
	require.NoError(t, err)
	require.NoError(t, e.Start(t.Context(), h))
	return &life{e, storage}
}

func (l *life) end(ctx context.Context, t *testing.T) {
	t.Helper()
	require.NoError(t, l.exporter.Shutdown(ctx))
	require.NoError(t, l.storage.Shutdown(context.Background()))
}

// consume hands over that many spans, each on its own.
func (l *life) consume(t *testing.T) {
	t.Helper()
	td := numbered(enough)
	for _, ss := range td.ResourceSpans().At(0).ScopeSpans().All() {
		for _, span := range ss.Spans().All() {
			one := numbered(1)
			span.CopyTo(one.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0))
			require.NoError(t, l.exporter.ConsumeTraces(t.Context(), one))
		}
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, time.Millisecond, what)
}

const enough = 20

// Jaeger is away and comes back: everything arrives, and nothing is left to send.
func TestShutdownAfterRecovery(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	c := listen(t, func(context.Context, int, []string) error {
		if away.Load() {
			return status.Error(codes.Unavailable, "away")
		}
		return nil
	})
	directory := t.TempDir()
	first := begin(t, directory, queued(c.address))
	first.consume(t)
	await(t, "a retry", func() bool { return len(c.seen()) > 1 })
	away.Store(false)
	await(t, "all spans", func() bool { return len(c.stored()) == enough })
	first.end(t.Context(), t)

	second := begin(t, directory, queued(c.address))
	second.end(t.Context(), t)
	assert.Equal(t, ids(1, enough), c.stored())
}

// Jaeger never comes back: the exporter ends all the same, and the next one that
// has the same queue sends everything.
func TestShutdownWhileAway(t *testing.T) {
	for name, behave := range map[string]func(context.Context) error{
		"refuses": func(context.Context) error { return status.Error(codes.Unavailable, "away") },
		"hangs":   func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			var away atomic.Bool
			away.Store(true)
			c := listen(t, func(ctx context.Context, _ int, _ []string) error {
				if away.Load() {
					return behave(ctx)
				}
				return nil
			})
			directory := t.TempDir()
			first := begin(t, directory, with(queued(c.address), "timeout", "500ms"))
			first.consume(t)
			await(t, "a call", func() bool { return len(c.seen()) > 0 })
			first.end(context.Background(), t)

			assert.Empty(t, c.stored())
			away.Store(false)
			second := begin(t, directory, queued(c.address))
			await(t, "all spans", func() bool { return len(c.stored()) >= enough })
			second.end(t.Context(), t)
			got := c.stored()
			slices.Sort(got)
			assert.Equal(t, ids(1, enough), got)
		})
	}
}

// Nobody listens at all.
func TestShutdownWithoutServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	directory := t.TempDir()
	first := begin(t, directory, queued(address))
	first.consume(t)
	first.end(context.Background(), t)

	c := listen(t, nil)
	second := begin(t, directory, queued(c.address))
	await(t, "all spans", func() bool { return len(c.stored()) >= enough })
	second.end(t.Context(), t)
	assert.ElementsMatch(t, ids(1, enough), c.stored())
}

// The collector has no more time: what is under way is given up, even without a
// timeout of its own, and stays in the queue.
func TestShutdownCancelled(t *testing.T) {
	var hanging atomic.Bool
	hanging.Store(true)
	c := listen(t, func(ctx context.Context, _ int, _ []string) error {
		if hanging.Load() {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	directory := t.TempDir()
	first := begin(t, directory, with(queued(c.address), "timeout", "0s"))
	first.consume(t)
	await(t, "a call", func() bool { return len(c.seen()) > 0 })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- first.exporter.Shutdown(ctx) }()
	select {
	case <-ended:
		t.Error("ended although a call was under way and there was time")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("the shutdown did not end with its context")
	}
	first.end(t.Context(), t)

	hanging.Store(false)
	second := begin(t, directory, queued(c.address))
	await(t, "all spans", func() bool { return len(c.stored()) >= enough })
	second.end(t.Context(), t)
	assert.ElementsMatch(t, ids(1, enough), c.stored())
}

// A queue in memory is sent once more. When the first call of that shows that
// nobody answers, the others are not waited for: 20 calls of 300 ms would be 6 s.
func TestShutdownDrains(t *testing.T) {
	memory := func(address string) map[string]any {
		conf := with(queued(address), "timeout", "300ms")
		conf["sending_queue"] = map[string]any{"num_consumers": 1}
		return conf
	}
	t.Run("while Jaeger answers", func(t *testing.T) {
		entered, proceed := make(chan struct{}, enough), make(chan struct{})
		c := listen(t, func(context.Context, int, []string) error {
			entered <- struct{}{}
			<-proceed
			return nil
		})
		first := begin(t, t.TempDir(), with(memory(c.address), "timeout", "20s"))
		first.consume(t)
		<-entered // one is under way, the others are in the queue
		close(proceed)
		first.end(t.Context(), t)
		assert.Equal(t, ids(1, enough), c.stored())
	})
	t.Run("while Jaeger hangs", func(t *testing.T) {
		c := listen(t, func(ctx context.Context, _ int, _ []string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		first := begin(t, t.TempDir(), memory(c.address))
		first.consume(t)
		await(t, "a call", func() bool { return len(c.seen()) > 0 })
		before := len(c.seen())
		first.end(t.Context(), t)
		assert.LessOrEqual(t, len(c.seen())-before, 1)
	})
}

func TestShutdownTwiceAndUnstarted(t *testing.T) {
	c := listen(t, nil)
	e, err := NewFactory().CreateTraces(t.Context(), exportertest.NewNopSettings(exportermetadata.Type), load(t, quick(c)))
	require.NoError(t, err)
	require.NoError(t, e.Shutdown(t.Context()))
	require.NoError(t, e.Shutdown(t.Context()))

	started := begin(t, t.TempDir(), queued(c.address))
	require.NoError(t, started.exporter.Shutdown(t.Context()))
	started.end(t.Context(), t)
}
