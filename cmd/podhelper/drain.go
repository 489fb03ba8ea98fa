// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// queueSize is what the collector exposes for each exporter and signal with a
// queue: what was acknowledged and is not delivered yet, requests under way
// included.
const queueSize = "otelcol_exporter_queue_size"

const (
	pollInterval  = 500 * time.Millisecond
	answerTimeout = 5 * time.Second
)

// drain ends with nil also when the time was too short, since the collector is
// to be stopped all the same; it says then what is left.
func drain(ctx context.Context, flags *flag.FlagSet, args []string) error {
	endpoint := flags.String("endpoint", "http://localhost:8888/metrics", "`URL` of the collector's own metrics")
	timeout := flags.Duration("timeout", time.Minute, "time to wait at most; keep it shorter than the pod's grace period")
	settle := flags.Duration("settle", 5*time.Second,
		"time for which the queues must have been empty; clients are still sent here until all of the cluster knows that the pod ends")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	left, err := awaitEmpty(ctx, *settle, func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		body, err := get(ctx, *endpoint)
		if err != nil {
			return 0, err
		}
		defer func() { _ = body.Close() }() // only read
		return queued(body)
	})
	if err != nil {
		return fmt.Errorf("no answer when the time was up: %w", err)
	}
	if left > 0 {
		_, _ = fmt.Fprintf(flags.Output(), "%s: the time is up, and %s is %v\n", flags.Name(), queueSize, left)
	}
	return nil
}

// awaitEmpty measures until the size has been 0 for as long as settle, or until
// the context ends, and returns the last size or error that was seen before.
func awaitEmpty(ctx context.Context, settle time.Duration, measure func(context.Context) (float64, error)) (float64, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var empty time.Time // since when, zero while it is not
	left, last := 0.0, errors.New("not asked yet")
	for {
		size, err := measure(ctx)
		if err != nil && ctx.Err() != nil {
			return left, last // cut short, which says nothing of the collector
		}
		left, last = size, err
		switch {
		case err != nil || size > 0:
			empty = time.Time{}
		case empty.IsZero():
			empty = time.Now()
		}
		if !empty.IsZero() && time.Since(empty) >= settle {
			return 0, nil
		}
		select {
		case <-ctx.Done():
			return left, last
		case <-ticker.C:
		}
	}
}

// queued adds up the sizes of all queues in the Prometheus text format; it is 0
// when no exporter has a queue.
func queued(metrics io.Reader) (float64, error) {
	total, collector := 0.0, false
	lines := bufio.NewScanner(metrics)
	lines.Buffer(nil, 1<<20) // a label value may be long
	for lines.Scan() {
		collector = collector || strings.HasPrefix(lines.Text(), "otelcol_")
		rest, found := strings.CutPrefix(lines.Text(), queueSize)
		if !found || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		// Label values may hold braces and spaces, what follows the labels may not.
		fields := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
		if len(fields) == 0 {
			return 0, fmt.Errorf("no value in %q", lines.Text())
		}
		size, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return 0, fmt.Errorf("value of %q: %w", lines.Text(), err)
		}
		if math.IsNaN(size) {
			return 0, fmt.Errorf("value of %q is no number", lines.Text())
		}
		total += size
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !collector {
		return 0, errors.New("what answers has no metrics of a collector")
	}
	return total, nil
}
