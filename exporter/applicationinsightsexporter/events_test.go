// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Python's Jaeger exporter sends an event's name as an attribute, and so without one.
func TestIsException(t *testing.T) {
	for name, tt := range map[string]struct {
		event string
		typed bool
		want  bool
	}{
		"by name":               {event: "exception", want: true},
		"nameless, with a type": {typed: true, want: true},
		"nameless":              {want: false},
		"another, with a type":  {event: "retry", typed: true, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			ev := ptrace.NewSpanEvent()
			ev.SetName(tt.event)
			if tt.typed {
				ev.Attributes().PutStr("exception.type", "ValueError")
			}
			assert.Equal(t, tt.want, isException(ev))
		})
	}
}
