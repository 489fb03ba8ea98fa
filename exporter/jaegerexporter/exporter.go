// SPDX-License-Identifier: Apache-2.0

package jaegerexporter

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/jaegertracing/jaeger-idl/proto-gen/api_v2"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxMessage is the size of a message that gRPC servers take by default, and
// Jaeger among them (--collector.grpc-server.max-message-size).
const maxMessage = 4 << 20

var errNotStarted = errors.New("the exporter is not started")

// jaegerSender is the exporter behind exporterhelper.
type jaegerSender struct {
	cfg       *Config
	set       exporter.Settings
	telemetry *telemetry

	host   component.Host
	conn   *grpc.ClientConn
	client api_v2.CollectorServiceClient

	unwell   atomic.Bool  // reported as such and not yet as well
	limit    atomic.Int64 // bytes in a message
	stopping atomic.Bool  // Shutdown was called
	life     context.Context
	endLife  context.CancelFunc
}

func newJaeger(cfg *Config, set exporter.Settings) (*jaegerSender, error) {
	t, err := newTelemetry(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	e := &jaegerSender{cfg: cfg, set: set, telemetry: t}
	e.limit.Store(maxMessage)
	e.life, e.endLife = context.WithCancel(context.Background())
	return e, nil
}

// start makes the client, which connects in the background: Jaeger may be away.
func (e *jaegerSender) start(ctx context.Context, host component.Host) error {
	e.host = host
	agent := fmt.Sprintf("%s/%s (%s/%s)", e.set.BuildInfo.Description, e.set.BuildInfo.Version, runtime.GOOS, runtime.GOARCH)
	conn, err := e.cfg.ClientConfig.ToClientConn(ctx, host.GetExtensions(), e.set.TelemetrySettings,
		configgrpc.WithGrpcDialOption(grpc.WithUserAgent(agent)))
	if err != nil {
		return fmt.Errorf("make gRPC client: %w", err)
	}
	e.conn = conn
	e.client = api_v2.NewCollectorServiceClient(conn)
	return nil
}

// shutdown runs after exporterhelper has stopped the queue and the last push has
// returned.
func (e *jaegerSender) shutdown(context.Context) error {
	e.endLife()
	e.telemetry.builder.Shutdown()
	if e.conn == nil {
		return nil
	}
	return e.conn.Close()
}

// tracesExporter adds to exporterhelper's exporter a Shutdown that may be called
// twice and that ends with its context.
type tracesExporter struct {
	exporter.Traces
	jaeger *jaegerSender
	once   sync.Once
	err    error
}

// Shutdown lets the queue be sent once more, without retries, for as long as Jaeger
// answers.
func (t *tracesExporter) Shutdown(ctx context.Context) error {
	t.once.Do(func() {
		t.jaeger.stopping.Store(true)
		defer context.AfterFunc(ctx, t.jaeger.endLife)()
		t.err = t.Traces.Shutdown(ctx)
	})
	return t.err
}

// pushTraces sends td and says what is left of it.
func (e *jaegerSender) pushTraces(ctx context.Context, td ptrace.Traces) error {
	if e.client == nil {
		return errNotStarted
	}
	if err := e.life.Err(); err != nil {
		return fmt.Errorf("shutting down: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)() //nolint:contextcheck // life ends when a shutdown has no more time, whoever called

	var out outcome
	// A batch for each resource in order, except that one without spans may have none.
	batches := jaeger.ProtoFromTraces(td)
	next := 0 // of batches
	for i, rs := range td.ResourceSpans().All() {
		if spanCount(rs) == 0 {
			continue
		}
		for len(batches[next].Spans) == 0 {
			next++
		}
		batch := batches[next]
		next++
		keepNames(rs, batch.Spans)
		done, err := e.deliver(ctx, batch, &out)
		if err != nil {
			e.failed(err)
			wait := retryDelay(err)
			if out.settled+done > 0 {
				err = consumererror.NewTraces(err, rest(td, i, done))
			}
			if wait > 0 {
				err = exporterhelper.NewThrottleRetry(err, wait)
			}
			return err
		}
		out.settled += done
	}
	if out.refusal == nil {
		return nil
	}
	if !out.taken {
		return consumererror.NewPermanent(out.refusal)
	}
	return nil // the refused ones are counted and logged; the queue knows all or nothing
}

// outcome gathers what came of a push.
type outcome struct {
	settled int   // spans of resources that are done
	taken   bool  // Jaeger has taken something
	refusal error // the last refusal
}

// deliver sends the spans of a batch and returns how many, from the first on, are
// done: taken, or refused for good. There is an error when the others may be sent
// again.
func (e *jaegerSender) deliver(ctx context.Context, batch *model.Batch, out *outcome) (done int, err error) {
	for done < len(batch.Spans) {
		spans, size := e.fit(batch.Process, batch.Spans[done:])
		err := e.post(ctx, model.Batch{Process: batch.Process, Spans: spans})
		switch v := judge(err); {
		case v == taken:
			out.taken = true
			e.recovered()
		case v == again:
			return done, err
		case v == tooLarge && len(spans) > 1:
			e.lower(size / 2)
			continue
		default:
			code := nameTooLarge
			if v == refused {
				code = refusals[status.Code(err)]
			}
			e.telemetry.refuse(ctx, code, len(spans), err)
			e.failed(err)
			out.refusal = err
		}
		done += len(spans)
	}
	return done, nil
}

// post makes one call.
func (e *jaegerSender) post(ctx context.Context, batch model.Batch) error {
	if timeout := e.cfg.TimeoutConfig.Timeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if _, err := e.client.PostSpans(ctx, &api_v2.PostSpansRequest{Batch: batch}); err != nil {
		return fmt.Errorf("post spans: %w", err)
	}
	return nil
}

// fit returns as many of the spans as go into one message, at least one, and the
// size of that message without its outermost field.
func (e *jaegerSender) fit(process *model.Process, spans []*model.Span) (fitting []*model.Span, size int) {
	limit := int(e.limit.Load())
	size = field(process.Size())
	for i, span := range spans {
		with := size + field(span.Size())
		if i > 0 && field(with) > limit {
			return spans[:i], size
		}
		size = with
	}
	return spans, size
}

// field is the size of an embedded message with its tag and length.
func field(size int) int { return 1 + (bits.Len(uint(size)|1)+6)/7 + size }

// lower makes messages smaller from now on.
func (e *jaegerSender) lower(to int) {
	for {
		old := e.limit.Load()
		if int64(to) >= old {
			return
		}
		if e.limit.CompareAndSwap(old, int64(to)) {
			e.set.Logger.Warn("Jaeger takes smaller messages than is usual; from now on they are", zap.Int("bytes", to))
			return
		}
	}
}

// failed reports, once, that Jaeger does not take what it is sent. While shutting
// down nobody waits for Jaeger to come back.
func (e *jaegerSender) failed(err error) {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		if e.stopping.Load() {
			e.endLife()
		}
	}
	if e.life.Err() == nil && e.unwell.CompareAndSwap(false, true) {
		componentstatus.ReportStatus(e.host, componentstatus.NewRecoverableErrorEvent(err))
	}
}

// recovered reports, once, that Jaeger takes spans again.
func (e *jaegerSender) recovered() {
	if e.unwell.Load() && e.unwell.CompareAndSwap(true, false) {
		componentstatus.ReportStatus(e.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

func spanCount(rs ptrace.ResourceSpans) int {
	n := 0
	for _, ss := range rs.ScopeSpans().All() {
		n += ss.Spans().Len()
	}
	return n
}

// rest copies what is left of td: the resources from the given one on, and of that
// one the spans after the first done.
func rest(td ptrace.Traces, resource, done int) ptrace.Traces {
	left := ptrace.NewTraces()
	all := td.ResourceSpans()
	for i := resource; i < all.Len(); i++ {
		all.At(i).CopyTo(left.ResourceSpans().AppendEmpty())
	}
	first := left.ResourceSpans().At(0)
	first.ScopeSpans().RemoveIf(func(ss ptrace.ScopeSpans) bool {
		ss.Spans().RemoveIf(func(ptrace.Span) bool {
			done--
			return done >= 0
		})
		return ss.Spans().Len() == 0
	})
	return left
}
