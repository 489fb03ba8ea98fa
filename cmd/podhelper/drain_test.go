// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQueued(t *testing.T) {
	for name, c := range map[string]struct {
		metrics string
		want    float64
	}{
		"no queue": {"otelcol_exporter_sent_spans{exporter=\"debug\"} 12\n", 0},
		"as the collector writes it": {`# HELP otelcol_exporter_queue_size Current size of the retry queue (in batches). [Alpha]
# TYPE otelcol_exporter_queue_size gauge
otelcol_exporter_queue_size{data_type="traces",exporter="otlp_grpc/jaeger",otel_scope_name="x"} 5
otelcol_exporter_queue_size{data_type="logs",exporter="azure",otel_scope_name="x"} 1.5e+06
otelcol_exporter_queue_capacity{data_type="traces",exporter="azure",otel_scope_name="x"} 1.073741824e+09
`, 1500005},
		"no labels":               {queueSize + " 3\n", 3},
		"a time behind the value": {queueSize + `{a="b"} 4 1700000000000`, 4},
		"braces in a label":       {queueSize + `{a="{x} 9 \" }"} 2`, 2},
		"another metric's prefix": {queueSize + "_max 7\n", 0},
	} {
		got, err := queued(strings.NewReader(c.metrics))
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got, name) //nolint:testifylint // whole numbers, exact in a float64
	}
	for _, broken := range []string{queueSize + `{a="b"}`, queueSize + ` many`, queueSize + ` NaN`} {
		_, err := queued(strings.NewReader(broken))
		require.ErrorContains(t, err, "value", broken)
	}
	for _, other := range []string{"", "<html>hello</html>", "go_goroutines 7\n"} {
		_, err := queued(strings.NewReader(other))
		require.ErrorContains(t, err, "no metrics of a collector", other)
	}
}

// What the collector answers, one entry a poll; the last one lasts.
type script []any

func (s script) measure(now func() time.Duration) func(context.Context) (float64, error) {
	return func(context.Context) (float64, error) {
		at := min(int(now()/pollInterval), len(s)-1)
		if err, failed := s[at].(error); failed {
			return 0, err
		}
		return s[at].(float64), nil
	}
}

func TestAwaitEmpty(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		answers script
		settle  time.Duration
		took    time.Duration
		left    float64
		err     error
	}{
		"empty from the start": {script{0.0}, 0, 0, 0, nil},
		"settles":              {script{0.0}, 2 * time.Second, 2 * time.Second, 0, nil},
		"drains":               {script{7.0, 3.0, 0.0}, 0, time.Second, 0, nil},
		// Empty at 0.5 s, filled again at 1 s, empty from 1.5 s on.
		"settles anew after a late client": {script{4.0, 0.0, 2.0, 0.0}, 2 * time.Second, 3500 * time.Millisecond, 0, nil},
		"settles anew after no answer":     {script{0.0, away, 0.0}, time.Second, 2 * time.Second, 0, nil},
		"never drains":                     {script{7.0, 6.0}, 0, 10 * time.Second, 6, nil},
		"never answers":                    {script{away}, 0, 10 * time.Second, 0, away},
		"answers no longer":                {script{3.0, away}, 0, 10 * time.Second, 0, away},
		"has no time to settle":            {script{0.0}, time.Minute, 10 * time.Second, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				since := func() time.Duration { return time.Since(start) }
				left, err := awaitEmpty(ctx, c.settle, c.answers.measure(since))
				assert.Equal(t, c.took, since())
				assert.Equal(t, c.left, left) //nolint:testifylint // whole numbers, exact in a float64
				assert.Equal(t, c.err, err)
			})
		})
	}
}

// An answer that the end of the time cuts short is not an error of the
// collector: what was seen before it counts.
func TestAwaitEmptyCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		asked := false
		left, err := awaitEmpty(ctx, 0, func(ctx context.Context) (float64, error) {
			if !asked {
				asked = true
				return 8, nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		require.NoError(t, err)
		assert.Equal(t, 8.0, left) //nolint:testifylint // a whole number, exact in a float64
	})
}

func TestDrain(t *testing.T) {
	empty := answering(t, http.StatusOK, queueSize+"{exporter=\"a\"} 0\n")
	code, said := call(t, "drain", "-endpoint", empty, "-settle", "0s")
	assert.Equal(t, 0, code)
	assert.Empty(t, said)

	full := answering(t, http.StatusOK, queueSize+"{exporter=\"a\"} 2\n"+queueSize+"{exporter=\"b\"} 3\n")
	code, said = call(t, "drain", "-endpoint", full, "-timeout", "100ms")
	assert.Equal(t, 0, code, "the collector is to be stopped all the same")
	assert.Equal(t, "podhelper drain: the time is up, and otelcol_exporter_queue_size is 5\n", said)

	code, said = call(t, "drain", "-endpoint", answering(t, http.StatusNotFound, ""), "-timeout", "100ms")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "no answer when the time was up")
	assert.Contains(t, said, "404 Not Found")
}
