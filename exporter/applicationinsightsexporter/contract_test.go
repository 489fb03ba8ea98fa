// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// trackReceiver takes requests as ingestion does and passes on the property that CheckConsumeContract counts by.
// What the next consumer refuses becomes the answer for that item: for good, or for now.
type trackReceiver struct {
	address string
	consume func(ctx context.Context, id string) error
	server  *http.Server
}

func (r *trackReceiver) Start(ctx context.Context, _ component.Host) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.address)
	if err != nil {
		return err
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(l) }()
	return nil
}

func (r *trackReceiver) Shutdown(context.Context) error { return r.server.Close() }

func (r *trackReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body := req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body = z
	}
	out := ingestion.Response{Errors: []ingestion.ItemError{}}
	lines := bufio.NewScanner(body)
	for ; lines.Scan(); out.ItemsReceived++ {
		var e ingestion.Envelope
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		err := r.consume(req.Context(), e.Properties()["test_id"])
		switch {
		case err == nil:
			out.ItemsAccepted++
		case consumererror.IsPermanent(err):
			out.Errors = append(out.Errors, ingestion.ItemError{Index: out.ItemsReceived, StatusCode: 400, Message: err.Error()})
		default:
			out.Errors = append(out.Errors, ingestion.ItemError{Index: out.ItemsReceived, StatusCode: 503, Message: err.Error()})
		}
	}
	status := http.StatusOK
	if len(out.Errors) > 0 {
		if status = http.StatusPartialContent; out.ItemsAccepted == 0 {
			status = out.Errors[0].StatusCode
		}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

func TestConsumeContract(t *testing.T) {
	address := freeAddress(t)
	receiverOf := func(consume func(ctx context.Context, id string) error) *trackReceiver {
		return &trackReceiver{address: address, consume: consume}
	}
	receivers := receiver.NewFactory(component.MustNewType("track"), func() component.Config { return &struct{}{} },
		receiver.WithTraces(func(_ context.Context, _ receiver.Settings, _ component.Config, next consumer.Traces) (receiver.Traces, error) {
			return receiverOf(func(ctx context.Context, id string) error {
				td := ptrace.NewTraces()
				td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().Attributes().PutStr("test_id", id)
				return next.ConsumeTraces(ctx, td)
			}), nil
		}, component.StabilityLevelDevelopment),
		receiver.WithLogs(func(_ context.Context, _ receiver.Settings, _ component.Config, next consumer.Logs) (receiver.Logs, error) {
			return receiverOf(func(ctx context.Context, id string) error {
				ld := plog.NewLogs()
				ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Attributes().PutStr("test_id", id)
				return next.ConsumeLogs(ctx, ld)
			}), nil
		}, component.StabilityLevelDevelopment),
		receiver.WithMetrics(func(_ context.Context, _ receiver.Settings, _ component.Config, next consumer.Metrics) (receiver.Metrics, error) {
			return receiverOf(func(ctx context.Context, id string) error {
				md := pmetric.NewMetrics()
				md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyHistogram().
					DataPoints().AppendEmpty().Attributes().PutStr("test_id", id)
				return next.ConsumeMetrics(ctx, md)
			}), nil
		}, component.StabilityLevelDevelopment),
	)
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	cfg.ConnectionString = "InstrumentationKey=k"
	cfg.ClientConfig.Endpoint = "http://" + address
	cfg.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
	cfg.RetryConfig.InitialInterval = time.Millisecond
	cfg.RetryConfig.MaxInterval = time.Millisecond
	for _, signal := range []pipeline.Signal{pipeline.SignalTraces, pipeline.SignalLogs, pipeline.SignalMetrics} {
		t.Run(signal.String(), func(t *testing.T) {
			exportertest.CheckConsumeContract(exportertest.CheckConsumeContractParams{
				T: t, NumberOfTestElements: 50, Signal: signal, ExporterFactory: NewFactory(), ExporterConfig: cfg,
				ReceiverFactory: receivers, ReceiverConfig: receivers.CreateDefaultConfig(),
			})
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	return address
}

// Whatever ingestion answers, and in whatever order, each item ends up delivered or counted, and is delivered
// more than once only as often as the counter of possible duplicates allows.
func TestNothingIsLostInAnyWeather(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			f := newFixture(t, retrying(map[string]any{"max_request_items": 7, "timeout": "100ms"}))
			r := rand.New(rand.NewPCG(seed, 1))
			putOff := func(i int, _ *ingestion.Envelope) ingestion.ItemError {
				return ingestion.ItemError{StatusCode: []int{0, 0, 408, 429, 500, 503, 401}[(i+int(seed))%7], Message: "later"}
			}
			refuse := func(i int, e *ingestion.Envelope) ingestion.ItemError {
				return ingestion.ItemError{StatusCode: []int{0, 400, 503}[(i+len(e.Text("id")))%3], Message: "no"}
			}
			weather := []ingestion.Answer{
				{},
				{},
				{Refuse: putOff},
				{Refuse: putOff},
				{Refuse: refuse},
				{Status: 503},
				{Status: 500},
				{Status: 429},
				{Status: 408},
				{Status: 401},
				{Status: 413},
				{Status: 400},
				{Status: 200, Body: "<html>"},
				{Status: 206},
				{Fault: ingestion.Reset},
				{Fault: ingestion.LoseAnswer},
				{Fault: ingestion.CutAnswer},
				{Fault: ingestion.Hang},
			}
			for range 40 {
				f.backend.Next(weather[r.IntN(len(weather))])
			}
			x := f.traces()
			const pushes, spans = 5, 60
			for n := range pushes {
				td := someTraces(spans)
				for i, s := range td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
					s.SetSpanID(spanIDOf(uint64(n*spans + i)))
				}
				if err := x.ConsumeTraces(context.Background(), td); err != nil {
					require.True(t, consumererror.IsPermanent(err), "%v", err)
				}
			}
			delivered, twice := f.backend.IDs(), int64(0)
			for _, n := range delivered {
				twice += int64(n - 1)
			}
			refused := int64(0)
			for _, n := range f.counter("refused_items") {
				refused += n
			}
			assert.Empty(t, f.backend.Rejected())
			// An item that was stored, whose answer was lost, and that is refused when it comes again is in both
			// sums: the weather refuses by place and not by item.
			both := int64(len(delivered)) + refused - pushes*spans
			assert.GreaterOrEqual(t, both, int64(0), "lost")
			assert.LessOrEqual(t, twice+both, f.counter("possible_duplicates")[""])
		})
	}
}

// A push allocates for its requests and not for its spans.
func TestAllocationsDoNotGrowWithSpans(t *testing.T) {
	x := newTestExporter(t, nil)
	e := x.newEncoder()
	one, many := benchmarkTraces(4), benchmarkTraces(1000)
	encode := func(td ptrace.Traces) func() {
		return func() {
			e.buf = e.buf[:0]
			encodeTraces(e, td)
		}
	}
	encode(many)() // grows the buffer
	a := testing.AllocsPerRun(100, encode(one))
	b := testing.AllocsPerRun(100, encode(many))
	assert.InDelta(t, a, b, 0)
	assert.Zero(t, b)
}
