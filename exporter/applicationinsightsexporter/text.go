// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/appendjson"
)

// text is a string in parts, so that a field such as "GET /cart" is written from its parts and never put
// together in memory of its own. The zero text is empty.
type text struct {
	parts [12]part
	n     int
}

// part is a string or, when s is empty, a number.
type part struct {
	s string
	i int64
}

func textOf(parts ...string) (t text) {
	for _, p := range parts {
		t.str(p)
	}
	return t
}

func (t *text) str(s string) {
	if s != "" {
		t.parts[t.n] = part{s: s}
		t.n++
	}
}

func (t *text) int(i int64) {
	t.parts[t.n] = part{i: i}
	t.n++
}

func (t *text) value(v pcommon.Value) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		t.str(v.Str())
	case pcommon.ValueTypeInt:
		t.int(v.Int())
	default:
		t.str(v.AsString())
	}
}

func (t *text) add(u *text) {
	t.n += copy(t.parts[t.n:], u.parts[:u.n])
}

func (t *text) empty() bool { return t.n == 0 }

// append writes t as a quoted JSON string of at most limit characters.
func (t *text) append(dst []byte, limit int) (out []byte, cut bool) {
	dst = append(dst, '"')
	for i := range t.parts[:t.n] {
		if p := &t.parts[i]; p.s != "" {
			dst, limit, cut = appendjson.Text(dst, p.s, limit)
		} else {
			var digits [20]byte
			dst, limit, cut = appendjson.Text(dst, strconv.AppendInt(digits[:0], p.i, 10), limit)
		}
		if cut {
			break
		}
	}
	return append(dst, '"'), cut
}

// appendTime writes a quoted time in UTC with the 100 ns that Application Insights keeps.
func appendTime(dst []byte, ts pcommon.Timestamp) []byte {
	// Not ts.AsTime: it overflows in the year 2262.
	t := time.Unix(int64(ts/1e9), int64(ts%1e9)).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, '"')
	dst = append(padded(dst, year, 4), '-')
	dst = append(padded(dst, int(month), 2), '-')
	dst = append(padded(dst, day, 2), 'T')
	dst = append(padded(dst, hour, 2), ':')
	dst = append(padded(dst, minute, 2), ':')
	dst = append(padded(dst, second, 2), '.')
	dst = padded(dst, t.Nanosecond()/100, 7)
	return append(dst, 'Z', '"')
}

const (
	day = 24 * time.Hour
	// maxDuration is the longest duration that Application Insights takes: it must be less than 1,000 days.
	maxDuration = 1000*day - 100
)

// appendDuration writes a quoted [D.]HH:MM:SS.fffffff. A span that ends before it starts has no duration.
func appendDuration(dst []byte, start, end pcommon.Timestamp) []byte {
	var d time.Duration
	if end > start {
		d = maxDuration
		if n := end - start; n < pcommon.Timestamp(maxDuration) {
			d = time.Duration(n)
		}
	}
	dst = append(dst, '"')
	if days := d / day; days > 0 {
		dst = strconv.AppendInt(dst, int64(days), 10)
		dst = append(dst, '.')
		d %= day
	}
	dst = append(padded(dst, int(d/time.Hour), 2), ':')
	dst = append(padded(dst, int(d/time.Minute%60), 2), ':')
	dst = append(padded(dst, int(d/time.Second%60), 2), '.')
	dst = padded(dst, int(d%time.Second)/100, 7)
	return append(dst, '"')
}

// padded writes the last width digits of n, which is not negative.
func padded(dst []byte, n, width int) []byte {
	const digits = "0123456789"
	var b [8]byte
	for i := width - 1; i >= 0; i-- {
		b[i] = digits[n%10]
		n /= 10
	}
	return append(dst, b[:width]...)
}

// appendHex writes the quoted lower-case hexadecimal form of an id.
func appendHex(dst, id []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, b := range id {
		dst = append(dst, digits[b>>4], digits[b&0xF])
	}
	return append(dst, '"')
}
