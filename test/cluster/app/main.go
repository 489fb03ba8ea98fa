// SPDX-License-Identifier: Apache-2.0

// Command app is the app in the pods of test/cluster: instrumented with the
// OpenTelemetry SDK as any Go app is, and able to tell which of its spans were
// acknowledged.
//
// It is set up by the SDK's own variables: OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_EXPORTER_OTLP_PROTOCOL (grpc, the default here, or http/protobuf),
// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES. A batch that is refused is sent
// again until it is acknowledged, and no span is thrown away for want of room. A
// trace is a request that failed and the call that it made.
//
//	GET  /acknowledged  the ids of the acknowledged spans, one a line
//	GET  /made          how many spans were made
//	GET  /error         the last refusal, empty since a batch was acknowledged
//	POST /spans?n=N     makes N traces, the two spans of each in different batches;
//	                    answers when they are acknowledged
//	POST /rate?n=N      makes N traces a second from now on, N a multiple of 50
//	GET  /dial?to=A     whether the address takes a TCP connection from this pod
//
// "app pause" does nothing until it is told to end, as a pod's first container does.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	var err error
	if len(os.Args) > 1 && os.Args[1] == "pause" {
		<-ctx.Done()
	} else {
		err = run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	exporter, err := newExporter(ctx)
	if err != nil {
		return err
	}
	acked := &acknowledging{SpanExporter: exporter}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(acked,
		sdktrace.WithBlocking(), // a full queue holds up the app, so that none is thrown away
		sdktrace.WithBatchTimeout(200*time.Millisecond),
		sdktrace.WithExportTimeout(24*time.Hour),
	))
	a := &app{acked: acked, provider: provider, tracer: provider.Tracer("app")}
	go a.makeAtRate(ctx)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /acknowledged", a.acknowledged)
	mux.HandleFunc("GET /made", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, a.made.Load()) })
	mux.HandleFunc("GET /error", acked.lastError)
	mux.HandleFunc("POST /spans", a.spans)
	mux.HandleFunc("POST /rate", a.setRate)
	mux.HandleFunc("GET /dial", dial)
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close() // what was not acknowledged was not promised to anybody
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	switch protocol := os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "", "grpc":
		return otlptracegrpc.New(ctx)
	case "http/protobuf":
		return otlptracehttp.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not one of grpc, http/protobuf", protocol)
	}
}

// acknowledging sends each batch until it is acknowledged, and remembers its spans.
type acknowledging struct {
	sdktrace.SpanExporter

	mu  sync.Mutex
	ids []string
	err error
}

// ExportSpans implements sdktrace.SpanExporter.
func (a *acknowledging) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := a.SpanExporter.ExportSpans(attempt, spans)
		cancel()
		a.mu.Lock()
		a.err = err
		if err == nil {
			for _, span := range spans {
				a.ids = append(a.ids, span.SpanContext().SpanID().String())
			}
		}
		a.mu.Unlock()
		if err == nil || ctx.Err() != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "send again:", err)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (a *acknowledging) lastError(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		fmt.Fprintln(w, a.err)
	}
}

type app struct {
	acked    *acknowledging
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	rate     atomic.Int64
	made     atomic.Int64
}

// begin makes the first span of a trace to end, and returns what ends the other.
func (a *app) begin(ctx context.Context) (end func()) {
	ctx, request := a.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
	_, call := a.tracer.Start(ctx, "call", trace.WithSpanKind(trace.SpanKindClient))
	call.End()
	a.made.Add(1)
	return func() {
		request.SetStatus(codes.Error, "not today") // so that sampling keeps the trace
		request.End()
		a.made.Add(1)
	}
}

func (a *app) makeAtRate(ctx context.Context) {
	const interval = 20 * time.Millisecond
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for range a.rate.Load() * int64(interval) / int64(time.Second) {
				a.begin(ctx)()
			}
		}
	}
}

func (a *app) acknowledged(w http.ResponseWriter, _ *http.Request) {
	a.acked.mu.Lock()
	ids := a.acked.ids[:len(a.acked.ids):len(a.acked.ids)]
	a.acked.mu.Unlock()
	fmt.Fprintln(w, strings.Join(ids, "\n"))
}

func (a *app) spans(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ends := make([]func(), n)
	for i := range ends {
		ends[i] = a.begin(r.Context())
	}
	err = a.provider.ForceFlush(r.Context())
	for _, end := range ends {
		end()
	}
	if err = errors.Join(err, a.provider.ForceFlush(r.Context())); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

func (a *app) setRate(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.FormValue("n"), 10, 32)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.rate.Store(n)
}

func dial(w http.ResponseWriter, r *http.Request) {
	d := net.Dialer{Timeout: 3 * time.Second}
	conn, err := d.DialContext(r.Context(), "tcp", r.FormValue("to"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_ = conn.Close() // nothing was written
}
