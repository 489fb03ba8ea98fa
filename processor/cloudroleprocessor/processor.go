// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"context"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
)

type roleProcessor struct {
	decider   *decider
	telemetry *telemetry
}

func newRoleProcessor(cfg *Config, set processor.Settings) (*roleProcessor, error) {
	d, err := newDecider(cfg)
	if err != nil {
		return nil, err
	}
	t, err := newTelemetry(set)
	if err != nil {
		return nil, err
	}
	return &roleProcessor{decider: d, telemetry: t}, nil
}

func (p *roleProcessor) processTraces(ctx context.Context, td ptrace.Traces) (ptrace.Traces, error) {
	var b batch
	for _, rs := range td.ResourceSpans().All() {
		p.process(rs.Resource().Attributes(), &b)
	}
	p.telemetry.count(ctx, &b.tally)
	return td, nil
}

func (p *roleProcessor) processMetrics(ctx context.Context, md pmetric.Metrics) (pmetric.Metrics, error) {
	var b batch
	for _, rm := range md.ResourceMetrics().All() {
		p.process(rm.Resource().Attributes(), &b)
	}
	p.telemetry.count(ctx, &b.tally)
	return md, nil
}

func (p *roleProcessor) processLogs(ctx context.Context, ld plog.Logs) (plog.Logs, error) {
	var b batch
	for _, rl := range ld.ResourceLogs().All() {
		p.process(rl.Resource().Attributes(), &b)
	}
	p.telemetry.count(ctx, &b.tally)
	return ld, nil
}

func (p *roleProcessor) process(attrs pcommon.Map, b *batch) {
	if p.decider.decide(attrs, b) != outcomeUnresolved {
		return
	}
	name := b.view.values[slotServiceName]
	first, last := p.telemetry.firstTime(name)
	if !first {
		return
	}
	p.telemetry.logUnresolved(name, p.decider.missing(&b.view))
	if last {
		p.telemetry.logLast()
	}
}
