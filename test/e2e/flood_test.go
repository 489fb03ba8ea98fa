// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/otlpserver"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
)

// What the agent's pod has: the limit of its container, and GOMEMLIMIT and
// memory_limiter at 80 % of it.
const (
	podMemory = 512 * mib
	goMemory  = "410MiB"
	limiter   = "\nprocessors::memory_limiter: {limit_mib: 410, spike_limit_mib: 102}"
)

// keeper is a backend that keeps the ids of one trace's spans and forgets all else.
type keeper struct {
	ptraceotlp.UnimplementedGRPCServer
	address string
	trace   pcommon.TraceID

	mu  sync.Mutex
	ids map[pcommon.SpanID]bool
}

func startKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{address: harness.FreeAddress(t), trace: telemetry.NewTraceID(), ids: map[pcommon.SpanID]bool{}}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", k.address)
	require.NoError(t, err)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 * mib))
	ptraceotlp.RegisterGRPCServer(server, k)
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	return k
}

func (k *keeper) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for span := range otlpserver.Spans(request.Traces()) {
		if span.TraceID() == k.trace {
			k.ids[span.SpanID()] = true
		}
	}
	return ptraceotlp.NewExportResponse(), nil
}

// missing returns how many of the first n spans have not come.
func (k *keeper) missing(n int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	gone := 0
	for i := range n {
		if !k.ids[telemetry.NumberedID(i)] {
			gone++
		}
	}
	return gone
}

// bystander sends small requests all the time, each until it is acknowledged, as an
// SDK does.
type bystander struct {
	acknowledged, again atomic.Int64 // requests, which are the first ones; attempts that failed
	longest             atomic.Int64 // nanoseconds from a first attempt to its acknowledgement
	stop                atomic.Bool
	done                chan struct{}
}

const bystanderSpans = 20 // in each request

func startBystander(t *testing.T, c *collector.Collector, k *keeper) *bystander {
	t.Helper()
	b := &bystander{done: make(chan struct{})}
	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC, Gzip: true}, c)
	pause := time.NewTicker(20 * time.Millisecond)
	go func() {
		defer close(b.done)
		defer pause.Stop()
		for first := 0; !b.stop.Load(); first += bystanderSpans {
			td := telemetry.Numbered("bystander", k.trace, first, bystanderSpans)
			for start := time.Now(); ; <-pause.C {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // as SDKs do
				err := client.Traces(ctx, td)
				cancel()
				if err == nil {
					b.longest.Store(max(b.longest.Load(), int64(time.Since(start))))
					break
				}
				if t.Context().Err() != nil {
					return
				}
				b.again.Add(1)
			}
			b.acknowledged.Add(1)
			<-pause.C
		}
	}()
	return b
}

// end returns how many spans were acknowledged.
func (b *bystander) end() int {
	b.stop.Store(true)
	<-b.done
	return int(b.acknowledged.Load()) * bystanderSpans
}

func (b *bystander) String() string {
	return fmt.Sprintf("%d requests, %d attempts failed, longest %s",
		b.acknowledged.Load(), b.again.Load(), time.Duration(b.longest.Load()).Round(time.Millisecond))
}

// flooder is one client with an address of its own.
type flooder struct {
	c        *collector.Collector
	t        *testing.T
	ctx      context.Context //nolint:containedctx // the flood's end, which each of its parts waits for
	running  sync.WaitGroup
	answered atomic.Int64 // requests
	failed   atomic.Int64
}

var flooderAddress = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}

func (f *flooder) dial(ctx context.Context, _, address string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: flooderAddress}).DialContext(ctx, "tcp", address)
}

// each runs n at a time until the flood ends.
func (f *flooder) each(n int, do func(i int) error) {
	for i := range n {
		f.running.Go(func() {
			for f.ctx.Err() == nil {
				if do(i) != nil {
					f.failed.Add(1)
				} else {
					f.answered.Add(1)
				}
			}
		})
	}
}

// http2 is a connection in plain text HTTP/2, as gRPC's.
func (f *flooder) http2() *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{DialContext: f.dial, Protocols: &protocols}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (f *flooder) http1() *http.Client {
	tr := &http.Transport{DialContext: f.dial, MaxIdleConnsPerHost: 1000}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// post sends a body; the answer, whatever it is, is read and forgotten.
func (f *flooder) post(client *http.Client, url string, header http.Header, body io.Reader) error {
	req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, url, body)
	if err != nil {
		return err
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func (f *flooder) postGRPC(client *http.Client, gzip bool, body io.Reader) error {
	return f.call(client, f.c.GRPC(f.t)+"/opentelemetry.proto.collector.trace.v1.TraceService/Export", gzip, body)
}

func (f *flooder) call(client *http.Client, method string, gzip bool, body io.Reader) error {
	header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	if gzip {
		header.Set("Grpc-Encoding", "gzip")
	}
	return f.post(client, "http://"+method, header, body)
}

func (f *flooder) postHTTP(client *http.Client, gzip bool, body io.Reader) error {
	header := http.Header{"Content-Type": {"application/x-protobuf"}}
	if gzip {
		header.Set("Content-Encoding", "gzip")
	}
	return f.post(client, "http://"+f.c.HTTP(f.t)+"/v1/traces", header, body)
}

// framed is a message of gRPC: whether it is compressed, its length, itself.
func framed(gzip bool, message []byte) []byte {
	head := make([]byte, 5, 5+len(message))
	if gzip {
		head[0] = 1
	}
	binary.BigEndian.PutUint32(head[1:], uint32(len(message)))
	return append(head, message...)
}

// largest is a request of spans, a little below the limit of a message.
func largest(t *testing.T) []byte {
	t.Helper()
	marshal := func(n int) []byte {
		b, err := ptraceotlp.NewExportRequestFromTraces(telemetry.Numbered("flood", telemetry.NewTraceID(), 0, n)).MarshalProto()
		require.NoError(t, err)
		return b
	}
	of := len(marshal(2000)) - len(marshal(1000)) // a thousand
	b := marshal((messageLimit - 64<<10) * 1000 / of)
	require.Less(t, len(b), messageLimit)
	return b
}

// half gives all of a message but its last byte, and then nothing.
func (f *flooder) half(message []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(message[:len(message)-1]), untilDone{f.ctx})
}

// untilDone is a body that has nothing to say until the flood ends.
type untilDone struct{ ctx context.Context } //nolint:containedctx // io.Reader has none

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

// floods are what one client may do to keep others from being served.
var floods = map[string]func(f *flooder){
	"largest messages by gRPC": func(f *flooder) {
		message := framed(false, largest(f.t))
		for range 16 {
			client := f.http2()
			f.each(8, func(int) error { return f.postGRPC(client, false, bytes.NewReader(message)) })
		}
	},
	"largest messages by gRPC, compressed": func(f *flooder) {
		message := framed(true, telemetry.Gzip(largest(f.t)))
		for range 16 {
			client := f.http2()
			f.each(64, func(int) error { return f.postGRPC(client, true, bytes.NewReader(message)) })
		}
	},
	"largest messages by HTTP": func(f *flooder) {
		message := largest(f.t)
		client := f.http1()
		f.each(128, func(int) error { return f.postHTTP(client, false, bytes.NewReader(message)) })
	},
	"largest messages by HTTP, compressed": func(f *flooder) {
		message := telemetry.Gzip(largest(f.t))
		client := f.http1()
		f.each(128, func(int) error { return f.postHTTP(client, true, bytes.NewReader(message)) })
	},
	"half messages by gRPC": func(f *flooder) {
		message := framed(false, largest(f.t))
		for range 32 {
			client := f.http2()
			f.each(64, func(int) error { return f.postGRPC(client, false, f.half(message)) })
		}
	},
	"half messages by Jaeger's gRPC": func(f *flooder) {
		message := framed(false, largest(f.t))
		for range 32 {
			client := f.http2()
			f.each(64, func(int) error {
				return f.call(client, f.c.Endpoint(f.t, grpcKey)+"/jaeger.api_v2.CollectorService/PostSpans", false, f.half(message))
			})
		}
	},
	"half messages by HTTP": func(f *flooder) {
		message := largest(f.t)
		client := f.http1()
		f.each(512, func(int) error { return f.postHTTP(client, false, f.half(message)) })
	},
	"heads of requests without an end": func(f *flooder) {
		f.each(1000, func(i int) error {
			address, head := f.c.HTTP(f.t), "POST /v1/traces HTTP/1.1\r\nHost: x\r\n"
			if i%2 == 0 {
				address, head = f.c.GRPC(f.t), "PRI * HTTP/2.0\r\n"
			}
			conn, err := f.dial(f.ctx, "tcp", address)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(f.ctx, func() { _ = conn.Close() })()
			_, _ = io.WriteString(conn, head)
			_, err = io.Copy(io.Discard, conn) // until the collector ends it
			return err
		})
	},
	"requests without a message by gRPC": func(f *flooder) {
		for range 50 {
			client := f.http2()
			f.each(200, func(int) error { return f.postGRPC(client, false, untilDone{f.ctx}) })
		}
	},
	"short connections": func(f *flooder) {
		message, err := ptraceotlp.NewExportRequestFromTraces(telemetry.Numbered("flood", telemetry.NewTraceID(), 0, 1)).MarshalProto()
		require.NoError(f.t, err)
		f.each(64, func(i int) error {
			if i%2 == 0 {
				client := f.http2()
				defer client.CloseIdleConnections()
				return f.postGRPC(client, false, bytes.NewReader(framed(false, message)))
			}
			client := f.http1()
			defer client.CloseIdleConnections()
			return f.postHTTP(client, false, bytes.NewReader(message))
		})
	},
}

// While one client floods, another is answered and loses nothing, and the process
// stays within the memory of its pod; afterwards all is as before.
func TestFlood(t *testing.T) {
	// Long enough for memory to reach its top, and for the other client to be answered.
	const lasts, atMost = 7 * time.Second, time.Minute
	for name, start := range floods {
		t.Run(name, func(t *testing.T) {
			k := startKeeper(t)
			config := mode("agent").config(t, "otlp", map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + k.address, "GOMEMLIMIT": goMemory,
			})
			config.Overlay += limiter
			c := collector.Start(t, config)

			ctx, end := context.WithTimeout(t.Context(), atMost)
			defer end()
			f := &flooder{c: c, t: t, ctx: ctx}
			b := startBystander(t, c, k)
			start(f)
			peak, begin := 0, time.Now()
			for look := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-look.C {
				peak = max(peak, c.OwnMemory(t))
				if time.Since(begin) > lasts && b.acknowledged.Load() > 0 {
					end()
				}
			}
			f.running.Wait()
			during, state := b.acknowledged.Load(), b.String()
			harness.Await(t, "answers after the flood", func() error {
				peak = max(peak, c.OwnMemory(t))
				if n := b.acknowledged.Load() - during; n < 20 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			spans := b.end()
			t.Logf("flood: %d answered, %d failed; bystander during it: %s; after it: %s; peak memory %d MiB, with files %d MiB",
				f.answered.Load(), f.failed.Load(), state, b, peak/mib, c.PeakMemory(t)/mib)
			assert.Less(t, peak, podMemory)
			assert.Positive(t, during, "nothing was answered during the flood")
			harness.AwaitFor(t, time.Minute, "acknowledged spans", func() error {
				if n := k.missing(spans); n > 0 {
					return fmt.Errorf("%d of %d are missing", n, spans)
				}
				return nil
			})
			c.Stop(t)
			assert.NotContains(t, c.Stderr.String(), "panic")
		})
	}
}

// Connections that do nothing cost little memory, and others are served beside them.
func TestIdleConnections(t *testing.T) {
	const connections = 2000
	k := startKeeper(t)
	for name, open := range map[string]func(f *flooder){
		"gRPC": func(f *flooder) {
			client := f.http2()
			// Any answer will do; the connection stays, as nothing else is sent on it.
			assert.NoError(t, f.postGRPC(client, false, bytes.NewReader(framed(false, nil))))
		},
		"HTTP": func(f *flooder) {
			assert.NoError(t, f.postHTTP(f.http1(), false, bytes.NewReader(nil)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := mode("agent").config(t, "otlp", map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + k.address, "GOMEMLIMIT": goMemory,
			})
			config.Overlay += limiter
			c := collector.Start(t, config)
			send(t, c, telemetry.NewShop())
			before := c.OwnMemory(t)
			f := &flooder{c: c, t: t, ctx: t.Context()}
			for range connections {
				open(f)
			}
			each := (c.OwnMemory(t) - before) / connections
			t.Logf("%d connections: %d MiB more, %d KiB each; heap %.0f MiB", connections, (c.OwnMemory(t)-before)/mib, each>>10, c.Metric(t, "otelcol_process_runtime_heap_alloc_bytes")/mib)
			assert.Less(t, each, 128<<10)
			send(t, c, telemetry.NewShop())
			c.Stop(t)
		})
	}
}

// A connection that is opened and says nothing, or half of the head of a request, is
// closed by the server; by HTTP at read_header_timeout.
func TestSilentConnections(t *testing.T) {
	c := startInFrontOf(t, "gateway", otlpserver.Start(t, otlpserver.Config{}))
	for name, address := range map[string]string{
		"otlp http": c.HTTP(t), "otlp grpc": c.GRPC(t), "jaeger http": c.Endpoint(t, httpKey), "zipkin": c.Endpoint(t, zipkinKey),
	} {
		for says, text := range map[string]string{"nothing": "", "half a head": "POST / HTTP/1.1\r\nHost: x\r\n"} {
			t.Run(name+" "+says, func(t *testing.T) {
				t.Parallel()
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
				require.NoError(t, err)
				defer func() { _ = conn.Close() }()
				_, err = io.WriteString(conn, text)
				require.NoError(t, err)
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(15*time.Second)))
				_, err = io.Copy(io.Discard, conn)
				if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
					t.Error("the connection is still there after 15 seconds")
				}
			})
		}
	}
}
