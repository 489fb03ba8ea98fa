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
	dst = append(dst, '"', byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-')
	dst = append(twoDigits(dst, uint64(month)), '-')
	dst = append(twoDigits(dst, uint64(day)), 'T')
	dst = append(twoDigits(dst, uint64(hour)), ':')
	dst = append(twoDigits(dst, uint64(minute)), ':')
	dst = append(twoDigits(dst, uint64(second)), '.')
	dst = sevenDigits(dst, uint64(ts%1e9)/100)
	return append(dst, 'Z', '"')
}

const (
	day = 24 * uint64(time.Hour)
	// maxDuration is the longest duration that Application Insights takes: it must be less than 1,000 days.
	maxDuration = 999*day + day - 100
)

// appendDuration writes a quoted [D.]HH:MM:SS.fffffff. A span that ends before it starts has no duration.
func appendDuration(dst []byte, start, end pcommon.Timestamp) []byte {
	var d uint64
	if end > start {
		d = min(uint64(end-start), maxDuration)
	}
	dst = append(dst, '"')
	if days := d / day; days > 0 {
		dst = strconv.AppendUint(dst, days, 10)
		dst = append(dst, '.')
		d %= day
	}
	dst = append(twoDigits(dst, d/uint64(time.Hour)), ':')
	dst = append(twoDigits(dst, d/uint64(time.Minute)%60), ':')
	dst = append(twoDigits(dst, d/uint64(time.Second)%60), '.')
	dst = sevenDigits(dst, d%uint64(time.Second)/100)
	return append(dst, '"')
}

func twoDigits(dst []byte, n uint64) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

func sevenDigits(dst []byte, n uint64) []byte {
	var b [7]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, b[:]...)
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
