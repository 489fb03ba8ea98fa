// SPDX-License-Identifier: Apache-2.0

package k8senrich

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/metadata"
	"github.com/otelcol-custom/otelcol-custom/processor/k8senrich/internal/podwatch"
)

// The values of the attributes source, reason and cause.
const (
	sourceDownwardAPI        = "downward_api"
	sourceContainerResources = "container_resources"
	sourcePodAssociation     = "pod_association"

	reasonNoAddress          = "no_address"
	reasonAddressUnknown     = "address_unknown"
	reasonAddressContested   = "address_contested"
	reasonAddressStale       = "address_stale"
	reasonOlderThanPod       = "older_than_pod"
	reasonNoPodID            = "no_pod_id"
	reasonPodUnknown         = "pod_unknown"
	reasonContainerAmbiguous = "container_ambiguous"
	reasonOtherPod           = "other_pod"

	causeEnded = "ended"
	causeError = "error"
)

// tally counts what happened to the resources of one batch.
type tally struct {
	downwardAPI, podAssociation, containerResources           int64
	noAddress, addressUnknown, addressContested, addressStale int64
	olderThanPod                                              int64
	noPodID, podUnknown, containerAmbiguous, otherPod         int64
}

// telemetry reports tallies. The attribute sets are made once, because making
// them is what reporting costs.
type telemetry struct {
	builder *metadata.TelemetryBuilder

	downwardAPI, podAssociation, containerResources           []metric.AddOption
	noAddress, addressUnknown, addressContested, addressStale []metric.AddOption
	olderThanPod                                              []metric.AddOption
	noPodID, podUnknown, containerAmbiguous, otherPod         []metric.AddOption
	ended, failed                                             []metric.AddOption
	processor                                                 metric.MeasurementOption
}

func newTelemetry(set component.TelemetrySettings, id component.ID) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, err
	}
	processor := attribute.String("processor", id.String())
	with := func(key, value string) []metric.AddOption {
		return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(processor, attribute.String(key, value)))}
	}
	return &telemetry{
		builder:            builder,
		downwardAPI:        with("source", sourceDownwardAPI),
		podAssociation:     with("source", sourcePodAssociation),
		containerResources: with("source", sourceContainerResources),
		noAddress:          with("reason", reasonNoAddress),
		addressUnknown:     with("reason", reasonAddressUnknown),
		addressContested:   with("reason", reasonAddressContested),
		addressStale:       with("reason", reasonAddressStale),
		olderThanPod:       with("reason", reasonOlderThanPod),
		noPodID:            with("reason", reasonNoPodID),
		podUnknown:         with("reason", reasonPodUnknown),
		containerAmbiguous: with("reason", reasonContainerAmbiguous),
		otherPod:           with("reason", reasonOtherPod),
		ended:              with("cause", causeEnded),
		failed:             with("cause", causeError),
		processor:          metric.WithAttributeSet(attribute.NewSet(processor)),
	}, nil
}

// add reports a batch.
func (t *telemetry) add(ctx context.Context, n *tally) {
	add := func(c metric.Int64Counter, count int64, options []metric.AddOption) {
		if count > 0 {
			c.Add(ctx, count, options...)
		}
	}
	add(t.builder.ProcessorK8senrichResources, n.downwardAPI, t.downwardAPI)
	add(t.builder.ProcessorK8senrichResources, n.podAssociation, t.podAssociation)
	add(t.builder.ProcessorK8senrichResources, n.containerResources, t.containerResources)
	add(t.builder.ProcessorK8senrichMisses, n.noAddress, t.noAddress)
	add(t.builder.ProcessorK8senrichMisses, n.addressUnknown, t.addressUnknown)
	add(t.builder.ProcessorK8senrichMisses, n.addressContested, t.addressContested)
	add(t.builder.ProcessorK8senrichMisses, n.addressStale, t.addressStale)
	add(t.builder.ProcessorK8senrichMisses, n.olderThanPod, t.olderThanPod)
	add(t.builder.ProcessorK8senrichMisses, n.noPodID, t.noPodID)
	add(t.builder.ProcessorK8senrichMisses, n.podUnknown, t.podUnknown)
	add(t.builder.ProcessorK8senrichMisses, n.containerAmbiguous, t.containerAmbiguous)
	add(t.builder.ProcessorK8senrichMisses, n.otherPod, t.otherPod)
}

// watchRestarted reports that the watch was begun again.
func (t *telemetry) watchRestarted(afterError bool) {
	options := t.ended
	if afterError {
		options = t.failed
	}
	t.builder.ProcessorK8senrichWatchRestarts.Add(context.Background(), 1, options...)
}

// observe has the state of a watch read whenever metrics are collected, until
// shutdown.
func (t *telemetry) observe(w *podwatch.Watcher) error {
	return errors.Join(
		t.builder.RegisterProcessorK8senrichPodsCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(int64(w.Pods.Len()), t.processor)
			return nil
		}),
		t.builder.RegisterProcessorK8senrichWatchingCallback(func(_ context.Context, o metric.Int64Observer) error {
			var watching int64
			if w.Watching() {
				watching = 1
			}
			o.Observe(watching, t.processor)
			return nil
		}),
	)
}

func (t *telemetry) shutdown() { t.builder.Shutdown() }
