// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// What our exporter and upstream's cost as whole processes, beside a collector that throws everything away:
//
//	go test -tags e2e -run '^$' -bench ApplicationInsights -benchtime 1x -count 3 ./test/e2e

// sink takes requests as fast as it can and counts items. While it is away it answers 503.
type sink struct {
	items atomic.Int64
	away  atomic.Bool
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.away.Load() {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body = z
	}
	plain, _ := io.ReadAll(body) // what is cut off is short of items, which shows
	n := bytes.Count(plain, []byte("\n"))
	s.items.Add(int64(n))
	_, _ = fmt.Fprintf(w, `{"itemsReceived":%d,"itemsAccepted":%d,"errors":[]}`, n, n)
}

// costConfig is one pipeline and nothing that the two do not share.
func costConfig(b *testing.B, exporter, url, queue string) collector.Config {
	b.Helper()
	dir := b.TempDir()
	settings := map[string]string{
		"nop":                 "{}",
		"applicationinsights": "{connection_string: \"${env:CONNECTION}\", sending_queue: " + queue + "}",
		"azuremonitor":        "{connection_string: \"${env:CONNECTION}\", sending_queue: " + queue + "}",
	}[exporter]
	file := filepath.Join(dir, "config.yaml")
	require.NoError(b, os.WriteFile(file, []byte(`
receivers: {otlp: {protocols: {grpc: {endpoint: "localhost:4317"}, http: {endpoint: "localhost:4318"}}}}
exporters: {`+exporter+`: `+settings+`}
extensions:
  health_check: {endpoint: "localhost:13133"}
  file_storage: {directory: "`+dir+`"}
service:
  telemetry: {logs: {level: error}}
  extensions: [health_check, file_storage]
  pipelines: {traces: {receivers: [otlp], exporters: [`+exporter+`]}}
`), 0o600))
	return collector.Config{Files: []string{file}, Env: map[string]string{
		"CONNECTION": "InstrumentationKey=" + ingestion.InstrumentationKey + ";IngestionEndpoint=" + url + "/",
	}}
}

// flow sends spans at 4,000 a second for a while and returns how many were acknowledged.
func flow(b *testing.B, c *collector.Collector, d time.Duration) int64 {
	b.Helper()
	client := telemetry.Dial(b, telemetry.Sender{Protocol: telemetry.GRPC}, c)
	trace := telemetry.NewTraceID()
	var acknowledged atomic.Int64
	var wg sync.WaitGroup
	stop := time.After(d)
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for first := 0; ; first += 100 {
		select {
		case <-stop:
			wg.Wait()
			return acknowledged.Load()
		case <-ticker.C:
			wg.Go(func() {
				if client.Traces(b.Context(), telemetry.Numbered("cost", trace, first, 100)) == nil {
					acknowledged.Add(100)
				}
			})
		}
	}
}

func BenchmarkApplicationInsightsCPU(b *testing.B) {
	const queue = "{batch: {flush_timeout: 250ms, min_size: 1024, max_size: 1024}}"
	for _, exporter := range []string{"nop", "applicationinsights", "azuremonitor"} {
		b.Run(exporter, func(b *testing.B) {
			for range b.N {
				s := &sink{}
				server := httptest.NewServer(s)
				c := collector.Start(b, costConfig(b, exporter, server.URL, queue))
				flow(b, c, 3*time.Second) // connections, pools, heap
				before := cpu(b, c)
				sent := flow(b, c, 20*time.Second)
				if exporter != "nop" {
					harness.Await(b, "everything at ingestion", func() error {
						if n := s.items.Load(); n < sent {
							return fmt.Errorf("%d of more than %d", n, sent)
						}
						return nil
					})
				}
				b.ReportMetric(float64(cpu(b, c)-before)/float64(sent), "cpu-ns/span")
				b.ReportMetric(float64(c.PeakMemory(b)>>20), "peak-MiB")
				c.Kill()
				server.Close()
			}
		})
	}
}

// BenchmarkApplicationInsightsBacklog is an outage of 60 s, with the queue on disk, and the end of it.
func BenchmarkApplicationInsightsBacklog(b *testing.B) {
	const queue = "{storage: file_storage, queue_size: 1000000, batch: {flush_timeout: 250ms, min_size: 1024, max_size: 1024}}"
	for _, exporter := range []string{"applicationinsights", "azuremonitor"} {
		b.Run(exporter, func(b *testing.B) {
			for range b.N {
				s := &sink{}
				server := httptest.NewServer(s)
				c := collector.Start(b, costConfig(b, exporter, server.URL, queue))
				s.away.Store(true)
				heap, stop := watchHeap(b, c)
				sent := flow(b, c, 60*time.Second)
				s.away.Store(false)
				// Long enough for every retry of either: the longest pause of upstream's is a minute.
				for end := time.Now().Add(90 * time.Second); time.Now().Before(end) && s.items.Load() < sent; {
					time.Sleep(time.Second)
				}
				stop()
				b.ReportMetric(float64(sent), "acknowledged-spans")
				b.ReportMetric(float64(sent-min(s.items.Load(), sent)), "lost-spans")
				b.ReportMetric(float64(heap.Load()>>20), "peak-anonymous-MiB")
				c.Kill()
				server.Close()
			}
		})
	}
}

// BenchmarkApplicationInsightsOneCore is what one core carries, from OTLP to ingestion: a collector that may use one
// processor at a time, and clients that send as fast as they are acknowledged. On a machine with other work the core
// is not its own, so spans are set against the CPU time that it got as well.
func BenchmarkApplicationInsightsOneCore(b *testing.B) {
	const queue = "{block_on_overflow: true, queue_size: 100, batch: {flush_timeout: 250ms, min_size: 1024, max_size: 1024}}"
	for range b.N {
		s := &sink{}
		server := httptest.NewServer(s)
		config := costConfig(b, "applicationinsights", server.URL, queue)
		c := collector.Start(b, config.With(map[string]string{"GOMAXPROCS": "1"}))
		saturate(b, c, 3*time.Second)
		before, arrived, begin := cpu(b, c), s.items.Load(), time.Now()
		saturate(b, c, 20*time.Second)
		spent, took, n := cpu(b, c)-before, time.Since(begin), s.items.Load()-arrived
		b.ReportMetric(float64(n)/took.Seconds(), "spans/s")
		b.ReportMetric(float64(n)/spent.Seconds(), "spans/cpu-s")
		b.ReportMetric(spent.Seconds()/took.Seconds(), "cores")
		b.ReportMetric(float64(c.PeakMemory(b)>>20), "peak-MiB")
		c.Kill()
		server.Close()
	}
}

// saturate sends as fast as it can for a while.
func saturate(b *testing.B, c *collector.Collector, d time.Duration) {
	b.Helper()
	client := telemetry.Dial(b, telemetry.Sender{Protocol: telemetry.GRPC}, c)
	trace := telemetry.NewTraceID()
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for n := range 8 {
		td := telemetry.Numbered("saturate", trace, n*100, 100)
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := client.Traces(b.Context(), td); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// cpu is what the process has used of the processors.
func cpu(b *testing.B, c *collector.Collector) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
	require.NoError(b, err)
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	require.NoError(b, err)
	system, err := strconv.ParseInt(fields[12], 10, 64)
	require.NoError(b, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// watchHeap keeps the most memory of the process that is not a file: the queue's file is mapped, and would be
// counted as well.
func watchHeap(b *testing.B, c *collector.Collector) (most *atomic.Int64, stop func()) {
	b.Helper()
	most = new(atomic.Int64)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
				if err != nil {
					return
				}
				for line := range strings.Lines(string(raw)) {
					if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
						kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
						most.Store(max(most.Load(), kib<<10))
					}
				}
			}
		}
	}()
	return most, func() { close(done); <-ended }
}
