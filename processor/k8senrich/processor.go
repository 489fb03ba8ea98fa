// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podinfo"
	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podwatch"
)

// enrichProcessor is the processor of one pipeline.
type enrichProcessor struct {
	shared    *shared
	telemetry *telemetry
	host      component.Host // set by start
}

func (p *enrichProcessor) start(_ context.Context, host component.Host) error {
	p.host = host
	return p.shared.start(p) //nolint:contextcheck // the watch goes on when the start is over
}

func (p *enrichProcessor) shutdown(ctx context.Context) error {
	p.telemetry.shutdown()
	return p.shared.shutdown(ctx, p)
}

func (p *enrichProcessor) processTraces(ctx context.Context, td ptrace.Traces) (ptrace.Traces, error) {
	b := p.shared.batch(ctx)
	defer b.close()
	for _, rs := range td.ResourceSpans().All() {
		if b.sender != nil {
			b.sender.associate(rs.Resource().Attributes(), timeOfSpans(rs), &b.tally)
		}
		b.enrich(rs.Resource().Attributes())
	}
	p.telemetry.add(ctx, &b.tally)
	return td, nil
}

func (p *enrichProcessor) processMetrics(ctx context.Context, md pmetric.Metrics) (pmetric.Metrics, error) {
	b := p.shared.batch(ctx)
	defer b.close()
	for _, rm := range md.ResourceMetrics().All() {
		if b.sender != nil {
			b.sender.associate(rm.Resource().Attributes(), timeOfPoints(rm), &b.tally)
		}
		b.enrich(rm.Resource().Attributes())
	}
	p.telemetry.add(ctx, &b.tally)
	return md, nil
}

func (p *enrichProcessor) processLogs(ctx context.Context, ld plog.Logs) (plog.Logs, error) {
	b := p.shared.batch(ctx)
	defer b.close()
	for _, rl := range ld.ResourceLogs().All() {
		if b.sender != nil {
			b.sender.associate(rl.Resource().Attributes(), timeOfRecords(rl), &b.tally)
		}
		b.enrich(rl.Resource().Attributes())
	}
	p.telemetry.add(ctx, &b.tally)
	return ld, nil
}

// batch enriches the resources of one batch, all from the same description.
type batch struct {
	sender      *sender              // nil: none
	description *podinfo.Description // nil: none
	limits      *limits              // nil: none
	pods        podwatch.View        // of limits
	aliases     *aliaser             // nil: none
	tally       tally
}

// close ends the batch, before the next consumer has it.
func (b *batch) close() {
	if b.sender != nil {
		b.sender.pods.Close()
	}
	if b.limits != nil && (b.sender == nil || b.sender.pods != b.pods) {
		b.pods.Close()
	}
}

func (b *batch) enrich(attrs pcommon.Map) {
	if b.description != nil {
		downward(attrs, b.description, &b.tally)
	}
	if b.limits != nil {
		b.limits.add(attrs, b.pods, &b.tally)
	}
	if b.aliases != nil {
		b.aliases.add(attrs)
	}
}
