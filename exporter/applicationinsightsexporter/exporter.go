// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/appendjson"
)

// sdkName is how ingestion knows this exporter: <name>:<version> in ai.internal.sdkVersion.
const sdkName = "otelcol-custom"

// shutdownGrace is how long shutdown waits for ingestion to say anything at all.
const shutdownGrace = 10 * time.Second

// maxSplits bounds how many requests the search for the bad item of one request may take. It is enough for one
// bad item in as many as fit, and short enough for a request in which every item is bad.
const maxSplits = 40

// appInsights is the exporter of one signal.
type appInsights struct {
	cfg       *Config
	cs        connectionString
	secrets   []string
	set       exporter.Settings
	telemetry *telemetry
	log       steadyLog
	mapping   mapping
	encoders  freeList[encoder]

	host    component.Host
	sender  *sender
	unwell  atomic.Bool // reported as such and not yet as well
	lowered atomic.Int64
	warned  sync.Once // of cumulative metrics

	warnedSummary sync.Once

	endLife context.CancelFunc
	grace   time.Duration
}

func newAppInsights(cfg *Config, set exporter.Settings) (*appInsights, error) {
	cs, err := parseConnectionString(string(cfg.ConnectionString))
	if err != nil {
		return nil, fmt.Errorf("connection_string: %w", err)
	}
	if cfg.ClientConfig.Endpoint != "" {
		if cs.endpoint, err = parseEndpoint(cfg.ClientConfig.Endpoint); err != nil {
			return nil, fmt.Errorf("endpoint: %w", err)
		}
	}
	t, err := newTelemetry(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	ikey, _, _ := appendjson.String(nil, cs.instrumentationKey, maxInstrumentationKey)
	x := &appInsights{
		cfg:       cfg,
		cs:        cs,
		secrets:   cs.secrets(),
		set:       set,
		telemetry: t,
		log:       steadyLog{logger: set.Logger, now: time.Now},
		mapping: mapping{
			ikey:          ikey,
			sdkVersion:    sdkName + ":" + set.BuildInfo.Version,
			spanEvents:    cfg.SpanEvents,
			resource:      cfg.Properties.Resource,
			consumed:      cfg.Properties.Consumed,
			scope:         cfg.Properties.Scope,
			clientErrorOK: cfg.Server4xx == OutcomeSuccess,
			marker:        rand.Text(),
			now:           time.Now,
		},
		encoders: newFreeList[encoder](),
		grace:    shutdownGrace,
	}
	return x, nil
}

func (x *appInsights) newEncoder() *encoder {
	if e := x.encoders.get(); e != nil {
		return e
	}
	return &encoder{mapping: &x.mapping, freeText: appendjson.NoLimit}
}

// start builds the client: auth extensions exist only now.
func (x *appInsights) start(ctx context.Context, host component.Host) error {
	x.host = host
	cc := x.cfg.ClientConfig
	cc.Compression = "" // done here, where the size is known and the compressors are kept
	// The collector's own spans would have the URL, which is part of the connection string.
	untraced := x.set.TelemetrySettings
	untraced.TracerProvider = noop.NewTracerProvider()
	client, err := cc.ToClient(ctx, host.GetExtensions(), untraced)
	if err != nil {
		return fmt.Errorf("build HTTP client: %w", err)
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	life, end := context.WithCancel(context.Background())
	x.endLife = end
	x.sender = &sender{
		client: client,
		route: &route{
			home:    trackURL(x.cs.endpoint),
			guarded: x.cfg.Credential.HasValue() || cc.Auth.HasValue() || len(cc.Headers) > 0 || cc.Cookies.HasValue() || len(cc.Middlewares) > 0,
			now:     time.Now,
		},
		bodies: newFreeList[[]byte](),
		now:    time.Now,
		life:   life,
	}
	if c := x.cfg.ClientConfig.Compression; c == configcompression.TypeGzip {
		x.sender.gzip = &gzipPool{level: gzipLevel(x.cfg), pool: newFreeList[gzipWriter]()}
	}
	if x.cfg.Credential.HasValue() {
		if x.sender.tokens, err = newTokens(ctx, x.cfg.Credential.Get(), x.cs.audience, &x.cfg.ClientConfig, x.set.TelemetrySettings); err != nil {
			return err
		}
	}
	if !x.cfg.RetryConfig.Enabled {
		x.set.Logger.Warn("retry_on_failure is off: what ingestion does not take at once is lost")
	}
	return nil
}

// gzipLevel is what the user chose, and else the fastest: envelopes repeat themselves so much that more effort
// buys little.
func gzipLevel(cfg *Config) int {
	if level := int(cfg.ClientConfig.CompressionParams.Level); level != 0 {
		return level
	}
	return 1
}

// shutdown runs after exporterhelper has stopped the queue and the last push has returned.
func (x *appInsights) shutdown(context.Context) error {
	if x.sender != nil {
		x.endLife()
		x.sender.client.CloseIdleConnections()
	}
	x.telemetry.Shutdown()
	return nil
}

// stopping watches a shutdown: when ctx ends, or when ingestion has said nothing for a while, the requests under
// way are given up, and what they carry is left to the queue. The function it returns ends the watch.
func (x *appInsights) stopping(ctx context.Context) (stopped func()) {
	if x.sender == nil {
		return func() {}
	}
	done, exited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(exited)
		ticker := time.NewTicker(x.grace)
		defer ticker.Stop()
		for answers := x.sender.answers.Load(); ; {
			select {
			case <-done:
				return
			case <-ctx.Done():
				x.endLife()
				return
			case <-ticker.C:
				n := x.sender.answers.Load()
				if n == answers {
					x.endLife()
					return
				}
				answers = n
			}
		}
	}()
	return func() {
		close(done)
		<-exited
	}
}

// push is the state of one call of a push function.
type push struct {
	*appInsights
	ctx context.Context //nolint:containedctx // as short-lived as the call it belongs to
	enc *encoder

	max int // bytes in a request

	items, accepted, refused, doubtful int

	again   []ref
	stopped bool // nothing more is tried in this push
	cause   error
	wait    time.Duration
	final   error // the last refusal
}

func (x *appInsights) newPush(ctx context.Context) *push {
	maxBytes := x.cfg.MaxRequestBytes
	if lowered := int(x.lowered.Load()); lowered > 0 {
		maxBytes = min(maxBytes, lowered)
	}
	p := &push{appInsights: x, ctx: ctx, enc: x.newEncoder(), max: maxBytes}
	return p
}

func (x *appInsights) pushTraces(ctx context.Context, td ptrace.Traces) error {
	p := x.newPush(ctx)
	e := p.enc
	record := -1
	for _, rs := range td.ResourceSpans().All() {
		e.setResource(rs.Resource())
		for _, ss := range rs.ScopeSpans().All() {
			e.setScope(ss.Scope())
			for _, s := range ss.Spans().All() {
				record++
				e.own.clear()
				e.own.collect(s.Attributes())
				if !e.isMarked(&e.own) {
					p.add(ref{record, whole}, func() { e.span(s) })
				}
				if x.mapping.spanEvents == SpanEventsNone {
					continue
				}
				for i, ev := range s.Events().All() {
					if e.wants(ev) {
						p.add(ref{record, i}, func() { e.spanEvent(s, ev) })
					}
				}
			}
		}
	}
	return p.finish(func(err error, refs []ref) error {
		return consumererror.NewTraces(err, pickTraces(td, refs, x.mapping.marker))
	})
}

func (x *appInsights) pushLogs(ctx context.Context, ld plog.Logs) error {
	p := x.newPush(ctx)
	e := p.enc
	record := -1
	for _, rl := range ld.ResourceLogs().All() {
		e.setResource(rl.Resource())
		for _, sl := range rl.ScopeLogs().All() {
			e.setScope(sl.Scope())
			for _, r := range sl.LogRecords().All() {
				record++
				e.own.clear()
				e.own.collect(r.Attributes())
				p.add(ref{record, whole}, func() { e.log(r) })
			}
		}
	}
	return p.finish(func(err error, refs []ref) error { return consumererror.NewLogs(err, pickLogs(ld, refs)) })
}

func (x *appInsights) pushMetrics(ctx context.Context, md pmetric.Metrics) error {
	p := x.newPush(ctx)
	e := p.enc
	e.own.clear()
	record, cumulative := -1, int64(0)
	for _, rm := range md.ResourceMetrics().All() {
		e.setResource(rm.Resource())
		for _, sm := range rm.ScopeMetrics().All() {
			e.setScope(sm.Scope())
			for _, m := range sm.Metrics().All() {
				points(m, func(pt point) {
					record++
					if pt.cumulative {
						cumulative++
						x.warnCumulative(m)
					}
					if pt.noValue || !pt.finite() {
						p.drop(dropped{reason: reasonNoValue})
						return
					}
					p.add(ref{record, whole}, func() { e.metric(m.Name(), &pt) })
				})
			}
		}
	}
	if cumulative > 0 {
		x.telemetry.ExporterApplicationinsightsCumulativePoints.Add(ctx, cumulative)
	}
	return p.finish(func(err error, refs []ref) error { return consumererror.NewMetrics(err, pickMetrics(md, refs)) })
}

// warnCumulative says of the first cumulative point what will be counted twice, and what to do. Of summaries it is
// said by itself: they are cumulative always, and the processor leaves them as they are.
func (x *appInsights) warnCumulative(m pmetric.Metric) {
	once, advice := &x.warned, "Put the cumulative_to_delta processor in front of this exporter."
	if m.Type() == pmetric.MetricTypeSummary {
		once, advice = &x.warnedSummary, "No processor turns a summary into a delta: have the application record a histogram, or drop it with the filter processor."
	}
	once.Do(func() {
		x.set.Logger.Warn("A cumulative metric has come in. Application Insights adds up every point it is sent, so each point counts again "+
			"what the points before it have counted. "+advice+" This is said once.",
			zap.String("metric", m.Name()), zap.String("type", m.Type().String()))
	})
}

// dropped is why an item is never sent (again).
type dropped struct {
	reason  refusalReason
	status  int
	message string
}

// drop counts one item that will not arrive, and says so.
func (p *push) drop(why dropped) {
	p.refused++
	p.telemetry.drop(p.ctx, why, 1)
	key := "drop " + string(why.reason) + " " + strconv.Itoa(why.status)
	switch why.reason {
	case reasonTooLarge:
		p.final = errors.New("item over 64 KB")
		p.log.say(zapcore.ErrorLevel, key, "Dropped an item: it is over 64 KB, and cutting its texts does not help")
	case reasonNoValue:
		p.final = errors.New("data point without a finite value")
		p.log.say(zapcore.WarnLevel, key, "Dropped a data point: it has no value, or one that is not finite")
	case reasonSampledOut:
		p.log.say(zapcore.InfoLevel, key, "Ingestion sampling is on for this resource: items are sampled out after they were sent")
	default:
		p.final = fmt.Errorf("refused with %d: %s", why.status, p.printable(why.message))
		p.log.say(zapcore.ErrorLevel, key, "Ingestion refused an item, which is dropped",
			zap.Int("status", why.status), zap.String("message", p.printable(why.message)), zap.String("hint", hint(why.status)))
	}
}

func (p *push) printable(message string) string { return printable(message, p.secrets...) }

// hint is what to do about a status.
func hint(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "see the message; data older than 48 h, or a wrong instrumentation key, is refused too"
	case http.StatusUnauthorized:
		return "the token is missing, expired or for another audience; check credential and AADAudience"
	case http.StatusForbidden:
		return "give the identity the role Monitoring Metrics Publisher on the Application Insights resource"
	case http.StatusPaymentRequired, statusDailyQuota:
		return "the daily cap of the resource or its workspace is reached; raise it, or set daily_cap: wait"
	case http.StatusNotFound:
		return "the instrumentation key belongs to another region; use the regional IngestionEndpoint of the connection string"
	case http.StatusMethodNotAllowed:
		return "the endpoint does not take telemetry; check IngestionEndpoint and what stands in front of it"
	case http.StatusTooManyRequests:
		return "the resource takes no more events a second; sample, or spread over resources"
	default:
		return ""
	}
}

// add puts one item, which write encodes, into the request that is being filled, and sends that when it is full.
func (p *push) add(r ref, write func()) {
	p.items++
	if p.stopped {
		p.again = append(p.again, r)
		return
	}
	start := len(p.enc.buf)
	if !p.enc.item(write) {
		p.drop(dropped{reason: reasonTooLarge})
		return
	}
	if len(p.enc.buf) > p.max && start > 0 {
		// It does not fit any more: send the others and begin a new request with it.
		p.send(start)
		n := copy(p.enc.buf, p.enc.buf[start:])
		p.enc.buf = p.enc.buf[:n]
		if p.stopped {
			p.again = append(p.again, r)
			p.enc.buf = p.enc.buf[:0]
			return
		}
	}
	p.enc.ends = append(p.enc.ends, len(p.enc.buf))
	p.enc.refs = append(p.enc.refs, r)
	if len(p.enc.ends) == p.cfg.MaxRequestItems {
		p.send(len(p.enc.buf))
		p.enc.buf = p.enc.buf[:0]
	}
}

// send sends the items in buf[:end], which are all that ends and refs describe.
func (p *push) send(end int) {
	e := p.enc
	if len(e.ends) > 0 {
		splits := 0
		p.deliver(e.buf[:end], 0, e.ends, e.refs, &splits)
	}
	e.ends, e.refs = e.ends[:0], e.refs[:0]
}

// deliver sends the items of body, which begins at offset base of what ends counts in, and settles the fate of
// each.
func (p *push) deliver(body []byte, base int, ends []int, refs []ref, splits *int) {
	if wait := p.sender.throttled(); wait > 0 && !p.stopped {
		p.stop(errThrottled, wait)
	}
	if p.stopped {
		p.again = append(p.again, refs...)
		return
	}
	a, t, err := p.sender.post(p.ctx, body)
	if err != nil {
		p.lost(err, len(body), t, refs)
		return
	}
	v := judge(a, len(refs), p.cfg.DailyCap == CapActionWait)
	p.telemetry.request(p.ctx, v.outcome, len(body), t)
	if a.wait > 0 {
		p.sender.throttle(a.wait)
	}
	if v.outcome == outcomeTooLarge && len(refs) > 1 {
		p.lowered.Store(int64(max(len(body)/2, maxItemBytes)))
	}
	if v.split && (v.outcome == outcomeTooLarge || *splits < maxSplits) {
		*splits += 2
		half := len(refs) / 2
		cut := ends[half-1] - base
		p.deliver(body[:cut], base, ends[:half], refs[:half], splits)
		p.deliver(body[cut:], base+cut, ends[half:], refs[half:], splits)
		return
	}

	var again []ref
	refused := 0
	switch {
	case v.perItem:
		for _, i := range v.again {
			again = append(again, refs[i])
		}
		for _, r := range v.refused {
			p.drop(dropOf(r))
		}
		refused = len(v.refused)
	case v.all == fateAgain:
		again = refs
	case v.all == fateRefused:
		refused = len(refs)
		for range refs {
			p.drop(dropped{reason: reasonIngestion, status: a.status, message: v.message})
		}
	}
	p.accepted += len(refs) - len(again) - refused
	if v.doubtful {
		p.doubtful += len(again)
	}
	if len(again) > 0 {
		p.again = append(p.again, again...)
		p.cause = p.causeOf(a, v)
		p.say(a, v)
	}
	// An answer that puts off every item would put off the next request too, and one that asks for peace gets it.
	if len(again) == len(refs) || (a.wait > 0 && len(again) > 0) {
		p.stop(p.cause, a.wait)
	}
	if len(again) == len(refs) {
		p.health(p.cause)
	} else {
		p.health(nil)
	}
}

func dropOf(r refusal) dropped {
	d := dropped{reason: reasonIngestion, status: r.status, message: r.message}
	if sampledOut(breezeError{Status: r.status, Message: r.message}) {
		d.reason = reasonSampledOut
	}
	return d
}

var errThrottled = errors.New("ingestion has asked to be left alone for a while")

// stop ends the sending of this push.
func (p *push) stop(cause error, wait time.Duration) {
	p.stopped = true
	p.cause = cause
	p.wait = max(p.wait, wait)
}

// lost settles a request without an answer: nothing is known to be stored, so all of it goes again.
func (p *push) lost(err error, size int, t traffic, refs []ref) {
	outcome := outcomeFailed
	var failed *sendError
	if errors.As(err, &failed) {
		if failed.written {
			p.doubtful += len(refs)
		}
		if failed.credential {
			outcome = outcomeNoCredential
			p.log.say(zapcore.ErrorLevel, "credential", "No token to send with; the data is kept and tried again", zap.Error(err))
		}
	}
	p.telemetry.request(p.ctx, outcome, size, t)
	p.again = append(p.again, refs...)
	p.stop(err, 0)
	p.health(err)
}

// causeOf says why items go again.
func (p *push) causeOf(a answer, v verdict) error {
	message := p.printable(v.message)
	if message == "" {
		message = http.StatusText(a.status)
	}
	return fmt.Errorf("ingestion answered %d: %s", a.status, message)
}

// say is for the answers that need a person; the retry itself is logged by exporterhelper.
func (p *push) say(a answer, v verdict) {
	status := zap.Int("status", a.status)
	message := zap.String("message", p.printable(v.message))
	key := "again " + strconv.Itoa(a.status)
	switch {
	case v.outcome == outcomeUnreadable:
		p.log.say(zapcore.WarnLevel, key, "The answer of ingestion does not say what was stored; all of the request is sent again and may be stored twice", status, message)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		p.log.say(zapcore.ErrorLevel, key, "Ingestion does not let us in; the data is kept and tried again", status, message, zap.String("hint", hint(a.status)))
	case throttles(a.status):
		p.log.say(zapcore.WarnLevel, key, "Ingestion is throttling; the data is kept and tried again", status, message,
			zap.Duration("retry_after", a.wait), zap.String("hint", hint(a.status)))
	}
}

// health reports to the collector when ingestion is lost and when it is back, each once.
func (p *push) health(err error) {
	switch {
	case err != nil && p.unwell.CompareAndSwap(false, true):
		componentstatus.ReportStatus(p.host, componentstatus.NewRecoverableErrorEvent(err))
	case err == nil && p.unwell.Load() && p.unwell.CompareAndSwap(true, false):
		componentstatus.ReportStatus(p.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// finish sends what is left, counts, and returns what exporterhelper is to do. subset makes the error that
// carries what goes again when that is not everything.
func (p *push) finish(subset func(error, []ref) error) error {
	p.send(len(p.enc.buf))
	p.telemetry.items(p.ctx, p.accepted, len(p.again), p.refused)
	p.telemetry.cut(p.ctx, p.enc.cut)
	if p.doubtful > 0 {
		p.telemetry.ExporterApplicationinsightsPossibleDuplicates.Add(p.ctx, int64(p.doubtful))
	}
	p.enc.release()
	p.encoders.put(p.enc)
	p.enc = nil
	switch {
	case len(p.again) == 0 && p.accepted == 0 && p.final != nil:
		return consumererror.NewPermanent(p.final)
	case len(p.again) == 0:
		return nil
	}
	err := p.cause
	if len(p.again) < p.items || p.refused > 0 {
		err = subset(err, p.again)
	}
	if p.wait > 0 {
		err = exporterhelper.NewThrottleRetry(err, p.wait)
	}
	return err
}
