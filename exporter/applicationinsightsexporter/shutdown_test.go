// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// extensions is a host with extensions.
type extensions map[component.ID]component.Component

func (h extensions) GetExtensions() map[component.ID]component.Component { return h }

// storageIn starts a file storage in a directory.
func storageIn(t *testing.T, dir string) extensions {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"directory": dir}).Unmarshal(cfg))
	ext, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	require.NoError(t, ext.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, ext.Shutdown(context.Background())) })
	return extensions{component.NewID(factory.Type()): ext}
}

// durable are settings with a queue on disk.
func durable(more map[string]any) map[string]any {
	s := retrying(map[string]any{"sending_queue": map[string]any{"enabled": true, "storage": "file_storage", "num_consumers": 2}})
	maps.Copy(s, more)
	return s
}

// createTraces makes an exporter that the test itself starts and stops.
func (f *fixture) createTraces() exporter.Traces {
	f.t.Helper()
	x, err := NewFactory().CreateTraces(context.Background(), f.set, f.cfg)
	require.NoError(f.t, err)
	return x
}

func TestShutdownWhileIngestionRecovers(t *testing.T) {
	f := newFixture(t, durable(nil))
	f.host = storageIn(t, t.TempDir())
	x := f.createTraces()
	require.NoError(t, x.Start(context.Background(), f.host))
	f.backend.Next(ingestion.Answer{Status: 503})
	require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(10)))
	require.Eventually(t, func() bool { return len(f.backend.IDs()) == 10 }, 10*time.Second, time.Millisecond)
	require.NoError(t, x.Shutdown(context.Background()))
	for id, n := range f.backend.IDs() {
		assert.Equal(t, 1, n, id)
	}
}

func TestShutdownWhileIngestionNeverRecovers(t *testing.T) {
	for name, answer := range map[string]ingestion.Answer{
		"refuses": {Status: 503},
		"resets":  {Fault: ingestion.Reset},
		"silent":  {Fault: ingestion.Hang},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, durable(nil))
			f.host = storageIn(t, t.TempDir())
			f.backend.Always(&answer)
			x := f.createTraces()
			x.(*tracesExporter).x.grace = 100 * time.Millisecond
			require.NoError(t, x.Start(context.Background(), f.host))
			require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(10)))
			require.Eventually(t, func() bool { return f.backend.Requests() > 0 }, 10*time.Second, time.Millisecond)

			begin := time.Now()
			require.NoError(t, x.Shutdown(context.Background()))
			assert.Less(t, time.Since(begin), 10*time.Second, "the timeout of a request is 2 minutes, and nobody waits for it")
			require.Empty(t, f.backend.IDs())

			// All of it is still there for the next start.
			f.backend.Always(nil)
			next := f.createTraces()
			require.NoError(t, next.Start(context.Background(), f.host))
			require.Eventually(t, func() bool { return len(f.backend.IDs()) == 10 }, 10*time.Second, time.Millisecond)
			require.NoError(t, next.Shutdown(context.Background()))
		})
	}
}

func TestShutdownOutOfTime(t *testing.T) {
	f := newFixture(t, durable(nil))
	f.host = storageIn(t, t.TempDir())
	f.backend.Always(&ingestion.Answer{Fault: ingestion.Hang})
	x := f.createTraces()
	require.NoError(t, x.Start(context.Background(), f.host))
	require.NoError(t, x.ConsumeTraces(context.Background(), someTraces(10)))
	require.Eventually(t, func() bool { return f.backend.Requests() > 0 }, 10*time.Second, time.Millisecond)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	begin := time.Now()
	require.NoError(t, x.Shutdown(ctx))
	assert.Less(t, time.Since(begin), shutdownGrace/2, "the deadline of the context counts, not the exporter's own patience")

	f.backend.Always(nil)
	next := f.createTraces()
	require.NoError(t, next.Start(context.Background(), f.host))
	require.Eventually(t, func() bool { return len(f.backend.IDs()) == 10 }, 10*time.Second, time.Millisecond)
	require.NoError(t, next.Shutdown(context.Background()))
}

// A slow but living ingestion gets the time it needs: what is in a queue in memory arrives.
func TestShutdownWaitsWhileAnswersCome(t *testing.T) {
	f := newFixture(t, retrying(map[string]any{"sending_queue": map[string]any{"enabled": true, "num_consumers": 1}}))
	x := f.createTraces()
	x.(*tracesExporter).x.grace = 2 * time.Second // less than all of it takes, and much more than one answer, also on a busy machine
	slow := 0
	f.backend.Always(&ingestion.Answer{Refuse: func(int, *ingestion.Envelope) ingestion.ItemError {
		slow++
		time.Sleep(100 * time.Millisecond) // what is slow has to take time
		return ingestion.ItemError{}
	}})
	require.NoError(t, x.Start(context.Background(), f.host))
	for i := range 30 {
		td := someTraces(1)
		td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetSpanID(spanIDOf(uint64(i)))
		require.NoError(t, x.ConsumeTraces(context.Background(), td))
	}
	require.NoError(t, x.Shutdown(context.Background()))
	assert.Len(t, f.backend.IDs(), 30)
}

func TestShutdownTwiceAndUnstarted(t *testing.T) {
	f := newFixture(t, map[string]any{"sending_queue": map[string]any{"enabled": true}})
	traces := f.createTraces()
	require.NoError(t, traces.Shutdown(context.Background()), "never started")
	require.NoError(t, traces.Shutdown(context.Background()))
	metrics, err := NewFactory().CreateMetrics(context.Background(), f.set, f.cfg)
	require.NoError(t, err)
	logs, err := NewFactory().CreateLogs(context.Background(), f.set, f.cfg)
	require.NoError(t, err)
	for _, c := range []component.Component{metrics, logs} {
		require.NoError(t, c.Start(context.Background(), f.host))
		require.NoError(t, c.Shutdown(context.Background()))
		require.NoError(t, c.Shutdown(context.Background()))
	}
}
