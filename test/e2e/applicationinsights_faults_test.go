// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// The load of these tests is 4,000 spans a second, from clients that send a
// request again until it is acknowledged, as SDKs do.
const (
	loadClients = 4
	loadRequest = 100 // spans
	loadEvery   = 100 * time.Millisecond
)

// outage is how long ingestion is away: 15 s, or $OTELCOL_OUTAGE.
func outage(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("OTELCOL_OUTAGE")
	if text == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// load is what clients send, and what of it was acknowledged.
type load struct {
	trace  pcommon.TraceID
	client atomic.Pointer[telemetry.Client]
	stop   chan struct{}
	wg     sync.WaitGroup

	mu           sync.Mutex
	next         int
	acknowledged []int // first span of each request
	repeated     int   // attempts after the first
	recovered    int   // requests that were acknowledged after they had been refused
	refusals     map[string]int
}

func startLoad(t *testing.T, c *collector.Collector) *load {
	t.Helper()
	l := &load{trace: telemetry.NewTraceID(), stop: make(chan struct{}), refusals: map[string]int{}}
	l.to(t, c)
	for range loadClients {
		l.wg.Go(func() {
			ticker := time.NewTicker(loadEvery)
			defer ticker.Stop()
			for {
				select {
				case <-l.stop:
					return
				case <-ticker.C:
					l.send(t)
				}
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// to points the clients at a collector.
func (l *load) to(t *testing.T, c *collector.Collector) {
	t.Helper()
	l.client.Store(telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c))
}

// send sends one request until it is acknowledged or the load ends.
func (l *load) send(t *testing.T) {
	l.mu.Lock()
	first := l.next
	l.next += loadRequest
	l.mu.Unlock()
	td := telemetry.Numbered("load", l.trace, first, loadRequest)
	for attempts := 1; ; attempts++ {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := l.client.Load().Traces(ctx, td)
		cancel()
		if err == nil {
			l.mu.Lock()
			l.acknowledged = append(l.acknowledged, first)
			if attempts > 1 {
				l.recovered++
			}
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		l.repeated++
		l.refusals[lastWords(err.Error())]++
		l.mu.Unlock()
		select {
		case <-l.stop:
			return
		case <-time.After(200 * time.Millisecond): // as an SDK pauses before it tries again
		}
	}
}

func lastWords(s string) string {
	return s[max(0, len(s)-60):]
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
}

// tally is the balance of a run.
type tally struct{ acknowledged, arrived, lost, twice int }

func (l *load) tally(server *ingestion.Server) (n tally) {
	ids := server.IDs()
	for _, first := range l.acknowledged {
		for i := first; i < first+loadRequest; i++ {
			n.acknowledged++
			if ids[telemetry.NumberedID(i).String()] == 0 {
				n.lost++
			}
		}
	}
	n.arrived = len(ids)
	for _, times := range ids {
		n.twice += times - 1
	}
	return n
}

// settle ends the load and waits until all that was acknowledged is there.
func (l *load) settle(t *testing.T, server *ingestion.Server) tally {
	t.Helper()
	l.end()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		n := l.tally(server)
		if n.lost == 0 {
			return n
		}
		if time.Now().After(deadline) {
			require.Failf(t, "lost", "%+v; refused by the rules: %v", n, len(server.Rejected()))
		}
		time.Sleep(time.Second) // looking costs as much as taking in
	}
}

// azure is the durable configuration, in front of a stand-in that only counts.
func azure(t *testing.T, overlay string) (*ingestion.Server, collector.Config) {
	t.Helper()
	server := ingestion.New(harness.FreeAddress(t), true)
	server.Start(t)
	config := mode("sidecar").config(t, "azure", map[string]string{"APPLICATIONINSIGHTS_CONNECTION_STRING": server.ConnectionString()})
	// What these tests ask is when it is sent again, not how patiently.
	config.Overlay = "exporters::applicationinsights::retry_on_failure::max_interval: 2s\n" + overlay
	return server, config
}

// inFlight bounds what a killed collector may have sent without knowing: a
// batch of 2,000 spans for each consumer of the queue.
const inFlight = 10 * 2000

// steady lets the load run against ingestion as it is for a while.
func steady(t *testing.T, l *load, d time.Duration) {
	t.Helper()
	start := time.Now()
	l.mu.Lock()
	before := len(l.acknowledged)
	l.mu.Unlock()
	time.Sleep(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%.0f spans a second acknowledged for %s", float64((len(l.acknowledged)-before)*loadRequest)/time.Since(start).Seconds(), d)
}

func (l *load) report(t *testing.T, c *collector.Collector, n tally) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%+v; %d attempts of clients repeated, %d requests got through that way %v; possible duplicates %v; peak memory %d MiB", n, l.repeated, l.recovered, l.refusals,
		c.Metric(t, "otelcol_exporter_applicationinsights_possible_duplicates"), c.PeakMemory(t)>>20)
}

// An outage, and what may end the collector meanwhile.
func TestApplicationInsightsOutage(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *collector.Collector){
		"by itself":    nil,
		"with SIGKILL": kill,
		"with SIGTERM": terminate,
	} {
		t.Run(name, func(t *testing.T) {
			server, config := azure(t, "")
			c := collector.Start(t, config)
			l := startLoad(t, c)
			steady(t, l, 3*time.Second)
			server.Always(&ingestion.Answer{Status: http.StatusServiceUnavailable})
			steady(t, l, outage(t)/2)
			if end != nil {
				end(t, c)
				c = collector.Start(t, config)
				l.to(t, c)
			}
			steady(t, l, outage(t)/2)
			server.Always(nil)
			steady(t, l, 3*time.Second)
			n := l.settle(t, server)
			l.report(t, c, n)
			// Nothing that was refused was stored, so what came twice is what
			// clients repeated, and what was in flight when the outage began
			// and when it ended.
			most := l.repeated * loadRequest
			if end != nil {
				most += inFlight
			}
			assert.LessOrEqual(t, n.twice, most)
			assert.Empty(t, server.Rejected())
			assert.Zero(t, c.Metric(t, "otelcol_exporter_applicationinsights_refused_items"))
		})
	}
}

func TestApplicationInsightsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server, config := azure(t, "")
	c := collector.Start(t, config)
	l := startLoad(t, c)
	const kills = 3
	for range kills {
		steady(t, l, 4*time.Second)
		c.Kill()
		c = collector.Start(t, config)
		l.to(t, c)
	}
	steady(t, l, 4*time.Second)
	n := l.settle(t, server)
	l.report(t, c, n)
	assert.LessOrEqual(t, n.twice, kills*inFlight+l.repeated*loadRequest)
	assert.Empty(t, server.Rejected())
}

// Ingestion that is there and behaves badly. What comes twice is what the
// exporter said might.
func TestApplicationInsightsBadWeather(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		overlay string
		weather []ingestion.Answer // in turns with good answers
	}{
		"connections reset": {weather: []ingestion.Answer{{Fault: ingestion.Reset}, {}, {Fault: ingestion.LoseAnswer}}},
		"answers hang": {
			overlay: "exporters::applicationinsights::timeout: 3s",
			weather: []ingestion.Answer{{Fault: ingestion.Hang}, {}},
		},
		"answers cut off": {weather: []ingestion.Answer{{Fault: ingestion.CutAnswer}, {}}},
		"a third refused for now": {weather: []ingestion.Answer{{Refuse: func(i int, _ *ingestion.Envelope) ingestion.ItemError {
			if i%3 == 0 {
				return ingestion.ItemError{StatusCode: http.StatusServiceUnavailable, Message: "later"}
			}
			return ingestion.ItemError{}
		}}}},
		"throttled": {weather: []ingestion.Answer{
			{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}},
			{},
			{},
			{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {time.Now().Add(10 * time.Second).UTC().Format(http.TimeFormat)}}},
			{},
		}},
		"server errors": {weather: []ingestion.Answer{{Status: 500}, {}, {Status: 502}, {}, {Status: 504}, {Status: 408}, {}}},
	} {
		t.Run(name, func(t *testing.T) {
			server, config := azure(t, c.overlay)
			proc := collector.Start(t, config)
			l := startLoad(t, proc)
			steady(t, l, 2*time.Second)
			for range 1 + 30/len(c.weather) {
				server.Next(c.weather...)
			}
			steady(t, l, 12*time.Second)
			n := l.settle(t, server)
			l.report(t, proc, n)
			possible := proc.Metric(t, "otelcol_exporter_applicationinsights_possible_duplicates")
			assert.LessOrEqual(t, float64(n.twice), possible+float64(l.repeated*loadRequest))
			assert.Empty(t, server.Rejected())
			assert.Zero(t, proc.Metric(t, "otelcol_exporter_applicationinsights_refused_items"))
		})
	}
}

// A queue that is full tells the client, whose next try succeeds once there is
// room again.
func TestApplicationInsightsQueueFull(t *testing.T) {
	t.Parallel()
	server, config := azure(t, "exporters::applicationinsights::sending_queue::queue_size: 10000000")
	c := collector.Start(t, config)
	l := startLoad(t, c)
	steady(t, l, 2*time.Second)
	server.Always(&ingestion.Answer{Status: http.StatusServiceUnavailable})
	harness.AwaitFor(t, time.Minute, "a client that is told", l.told("full"))
	server.Always(nil)
	harness.AwaitFor(t, time.Minute, "a client whose next try succeeds", l.recovery)
	steady(t, l, 5*time.Second)
	n := l.settle(t, server)
	l.report(t, c, n)
	// A request that one queue refuses was not taken at all, so nothing of it
	// comes twice.
	assert.Zero(t, n.twice)
}

// recovery is nil once a request was acknowledged that had been refused.
func (l *load) recovery() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recovered == 0 {
		return fmt.Errorf("%d attempts were repeated, none of them succeeded", l.repeated)
	}
	return nil
}

// told tells whether a client was refused with these words.
func (l *load) told(words string) func() error {
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for refusal := range l.refusals {
			if strings.Contains(refusal, words) {
				return nil
			}
		}
		return fmt.Errorf("refusals: %v", l.refusals)
	}
}

// A disk that is full tells the client too, and what was acknowledged before
// arrives after it. Where no small disk can be made, for want of rights, the
// files are kept from growing, which the queue sees in the same way.
func TestApplicationInsightsDiskFull(t *testing.T) {
	disk := t.TempDir()
	small, words := "exec unshare --mount --map-root-user sh -c 'mount -t tmpfs -o size=24m tmpfs \"$0\" && exec \"$@\"' "+disk, "no space left"
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Logf("no small disk can be made here, the size of files is limited: %v: %s", err, out)
		small, words = "ulimit -f 49152; exec", "file too large" // in units of 512 bytes
	}
	wrapper := filepath.Join(t.TempDir(), "collector")
	require.NoError(t, os.WriteFile(wrapper, []byte("#!/bin/sh\n"+small+" "+collector.Binary(t)+" \"$@\"\n"), 0o700))
	t.Setenv("OTELCOL_BIN", wrapper)
	server, config := azure(t, "")
	config = config.With(map[string]string{"OTELCOL_QUEUE_DIRECTORY": filepath.Join(disk, "queue"), "PATH": os.Getenv("PATH")})
	c := collector.Start(t, config)
	l := startLoad(t, c)
	steady(t, l, 2*time.Second)
	server.Always(&ingestion.Answer{Status: http.StatusServiceUnavailable})
	harness.AwaitFor(t, 2*time.Minute, "a client that is told", l.told(words))
	steady(t, l, 2*time.Second)
	server.Always(nil)
	harness.AwaitFor(t, time.Minute, "a client whose next try succeeds", l.recovery)
	steady(t, l, 5*time.Second)
	n := l.settle(t, server)
	l.report(t, c, n)
	assert.LessOrEqual(t, n.twice, l.repeated*loadRequest)
}
