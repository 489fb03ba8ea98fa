// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"encoding/base64"
	"hash/fnv"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/appendjson"
)

// Limits in characters, from the published schema; see docs/applicationinsights-mapping.md.
const (
	limitID            = 512
	limitName          = 1024
	limitEventName     = 512
	limitField         = 1024 // type, target, source, result code, exception type
	limitURL           = 2048
	limitData          = 8192
	limitMessage       = 32768
	limitStack         = 32768
	limitPropertyKey   = 150
	limitPropertyValue = 8192
	// limitGenAIValue is for the few properties that hold prompts and answers. The limit on the whole item
	// comes first in practice.
	limitGenAIValue = 262144

	limitTagID     = 128
	limitTagShort  = 64
	limitTagMedium = 256
	limitTagLong   = 1024
	limitTagIP     = 46
)

// maxItemBytes is what ingestion takes of one item.
const maxItemBytes = 64 * 1024

// minFreeText is how far the free text of an item that is too large is cut before the item is given up.
const minFreeText = 16

// unnamed stands in for a name or a message that ingestion requires and that the telemetry does not have.
const unnamed = "unnamed"

// genAIKeys are the properties that may be longer than others.
var genAIKeys = map[string]struct{}{
	"gen_ai.input.messages":         {},
	"gen_ai.output.messages":        {},
	"gen_ai.system_instructions":    {},
	"gen_ai.tool.definitions":       {},
	"gen_ai.tool.call.arguments":    {},
	"gen_ai.tool.call.result":       {},
	"gen_ai.evaluation.explanation": {},
}

// mapping is the part of the configuration that decides what an envelope looks like. It is read-only.
type mapping struct {
	ikey          []byte // as a JSON string
	sdkVersion    string
	spanEvents    SpanEvents
	resource      bool // resource attributes become properties
	consumed      bool // so do attributes that fill a field of their own
	scope         bool // so does the instrumentation scope
	clientErrorOK bool // a 4xx answer of a server is a success
	marker        string
	now           func() time.Time
}

// cutCounts counts what was cut, by what it was.
type cutCounts struct {
	fields, properties, keys int64
}

// encoder appends envelopes to buf, one per line. It serves one push at a time and is kept in a pool between
// pushes.
type encoder struct {
	*mapping
	buf []byte
	cut cutCounts

	// ends and refs describe the items in buf: where each ends and what it comes from.
	ends []int
	refs []ref

	// freeText is the limit on each free text of the item at hand (property values, messages, stack traces,
	// statements, URLs), lowered only for an item that would otherwise be too large.
	freeText int

	res      resourceBlock
	scopeOf  pcommon.InstrumentationScope
	hasScope bool

	own   found // the attributes of the span or log record at hand
	event found // the attributes of the span event at hand

	// keys and filter hold the property keys of the item at hand.
	keys    []string
	filter  keyFilter
	propsAt int
	nested  []byte
}

// release makes e ready for the pool: it must not keep telemetry alive.
func (e *encoder) release() {
	clear(e.own.vals[:])
	clear(e.event.vals[:])
	clear(e.keys[:cap(e.keys)])
	e.own.clear()
	e.event.clear()
	e.res.release()
	e.scopeOf = pcommon.InstrumentationScope{}
	e.hasScope = false
	e.buf, e.ends, e.refs = e.buf[:0], e.ends[:0], e.refs[:0]
	e.cut = cutCounts{}
	e.freeText = appendjson.NoLimit
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

// begin writes an envelope up to the first tag of its own. The tags of the resource come with it.
func (e *encoder) begin(name string, ts pcommon.Timestamp, sampleRate float64) {
	e.raw(`{"ver":1,"name":"Microsoft.ApplicationInsights.`)
	e.raw(name)
	e.raw(`","time":`)
	e.buf = appendTime(e.buf, ts)
	if sampleRate != 100 {
		e.raw(`,"sampleRate":`)
		e.buf, _ = appendjson.Float(e.buf, sampleRate)
	}
	e.raw(`,"iKey":`)
	e.buf = append(e.buf, e.ikey...)
	e.raw(`,"tags":{`)
	e.buf = append(e.buf, e.res.tags...)
}

// data ends the tags and opens the base data.
func (e *encoder) data(baseType string) {
	e.raw(`},"data":{"baseType":"`)
	e.raw(baseType)
	e.raw(`","baseData":{"ver":2`)
}

func (e *encoder) end() { e.raw("}}}\n") }

// tag writes a tag that has a value. key is the tag with its quotes and a colon.
func (e *encoder) tag(key, value string, limit int) {
	if value != "" {
		t := textOf(value)
		e.tagText(key, &t, limit)
	}
}

func (e *encoder) tagText(key string, value *text, limit int) {
	if value.empty() {
		return
	}
	var cut bool
	e.raw(",")
	e.raw(key)
	e.buf, cut = value.append(e.buf, limit)
	e.cutField(cut)
}

// tagHex writes a tag from an id, unless it is all zeros, which means that there is none.
func (e *encoder) tagHex(key string, id []byte) {
	for _, b := range id {
		if b != 0 {
			e.raw(",")
			e.raw(key)
			e.buf = appendHex(e.buf, id)
			return
		}
	}
}

// field writes a field that has a value. key is `,"name":`.
func (e *encoder) field(key string, value *text, limit int) {
	if value.empty() {
		return
	}
	var cut bool
	e.raw(key)
	e.buf, cut = value.append(e.buf, limit)
	e.cutField(cut)
}

func (e *encoder) strField(key, value string, limit int) {
	if value != "" {
		t := textOf(value)
		e.field(key, &t, limit)
	}
}

// freeField is field for free text, which gives way when the item is too large.
func (e *encoder) freeField(key string, value *text, limit int) {
	e.field(key, value, min(limit, e.freeText))
}

func (e *encoder) boolField(key string, value bool) {
	e.raw(key)
	e.buf = strconv.AppendBool(e.buf, value)
}

func (e *encoder) cutField(cut bool) {
	if cut {
		e.cut.fields++
	}
}

const propsOpen = `,"properties":{`

// openProperties opens the object; the properties that follow are told apart by their keys.
func (e *encoder) openProperties() {
	e.keys = e.keys[:0]
	e.filter = keyFilter{}
	e.propsAt = len(e.buf)
	e.raw(propsOpen)
}

// closeProperties adds the instrumentation scope and the resource to what the item itself has, and closes.
func (e *encoder) closeProperties() {
	if e.scope && e.hasScope {
		e.stringProperty("otel.scope.name", e.scopeOf.Name())
		e.stringProperty("otel.scope.version", e.scopeOf.Version())
		e.properties(e.scopeOf.Attributes())
	}
	if e.resource {
		e.resourceProperties()
	}
	if len(e.buf) == e.propsAt+len(propsOpen) {
		e.buf = e.buf[:e.propsAt]
		return
	}
	e.raw("}")
}

// properties writes the attributes of m that become properties.
func (e *encoder) properties(m pcommon.Map) {
	for k, v := range m.All() {
		h := keyHash(k)
		e.attribute(lookupAttr(k, h), k, h, v)
	}
}

// attribute writes an attribute as a property if it becomes one. a is the attribute that k names, h k's hash.
func (e *encoder) attribute(a attr, k string, h uint, v pcommon.Value) {
	switch attrInfos[a].disp {
	case instruction:
		return
	case mapped:
		if !e.consumed {
			return
		}
	default:
		if a == attrNone && reserved(k) {
			return
		}
	}
	e.property(k, h, v)
}

// reserved tells the keys that the service keeps for its own pipeline; one that comes from outside would make it
// believe things about the item.
func reserved(key string) bool {
	return len(key) >= 4 && key[0] == '_' && key[1] == 'M' && key[2] == 'S' && key[3] == '.'
}

// claim tells whether key may be written: not when it is empty or there already. h is the key's hash.
func (e *encoder) claim(key string, h uint) bool {
	if key == "" || (e.filter.has(h) && e.hasKey(key)) {
		return false
	}
	e.filter.add(h)
	e.keys = append(e.keys, key)
	return true
}

// clean makes a key that is not UTF-8 what it will be in JSON. Two keys may become one that way, and JSON must
// not have it twice.
func clean(key string, h uint) (string, uint) {
	if utf8.ValidString(key) {
		return key, h
	}
	key = string([]rune(key)) // each byte that is no character becomes U+FFFD
	return key, keyHash(key)
}

func (e *encoder) hasKey(key string) bool {
	for _, k := range e.keys {
		if k == key {
			return true
		}
	}
	return false
}

// property writes one property. Values that are empty are left out, as ingestion would.
func (e *encoder) property(key string, h uint, v pcommon.Value) {
	t := v.Type()
	if t == pcommon.ValueTypeEmpty || (t == pcommon.ValueTypeStr && v.Str() == "") {
		return
	}
	if key, h = clean(key, h); !e.claim(key, h) {
		return
	}
	e.propertyKey(key)
	limit := limitPropertyValue
	if key[0] == 'g' {
		if _, ok := genAIKeys[key]; ok {
			limit = limitGenAIValue
		}
	}
	e.buf = e.appendValue(e.buf, v, min(limit, e.freeText))
}

// stringProperty writes a property that does not come from an attribute map.
func (e *encoder) stringProperty(key, value string) {
	if value == "" || !e.claim(key, keyHash(key)) {
		return
	}
	e.propertyKey(key)
	var cut bool
	e.buf, _, cut = appendjson.String(e.buf, value, min(limitPropertyValue, e.freeText))
	e.cutProperty(cut)
}

// propertyKey writes the key. One that is too long ends in a hash of the whole key, so that two long keys with
// the same beginning stay two.
func (e *encoder) propertyKey(key string) {
	e.comma()
	if len(key) <= limitPropertyKey {
		e.buf, _, _ = appendjson.String(e.buf, key, limitPropertyKey)
		e.raw(":")
		return
	}
	start := len(e.buf)
	var cut bool
	if e.buf, _, cut = appendjson.String(e.buf, key, limitPropertyKey); cut {
		const hashed = 9
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		var sum [4]byte
		e.buf, _, _ = appendjson.String(e.buf[:start], key, limitPropertyKey-hashed)
		e.buf[len(e.buf)-1] = '~'
		e.buf = appendHex(e.buf, h.Sum(sum[:0]))
		// appendHex has put a quote between the tilde and the digits.
		e.buf = append(e.buf[:len(e.buf)-10], e.buf[len(e.buf)-9:]...)
		e.cut.keys++
	}
	e.raw(":")
}

func (e *encoder) cutProperty(cut bool) {
	if cut {
		e.cut.properties++
	}
}

// appendValue writes any value as a JSON string of at most limit characters: scalars as their text, lists and
// maps as their JSON, bytes as base64.
func (e *encoder) appendValue(dst []byte, v pcommon.Value, limit int) []byte {
	var cut bool
	switch v.Type() {
	case pcommon.ValueTypeStr:
		dst, _, cut = appendjson.String(dst, v.Str(), limit)
	case pcommon.ValueTypeInt:
		dst = append(dst, '"')
		dst = strconv.AppendInt(dst, v.Int(), 10)
		dst = append(dst, '"')
	case pcommon.ValueTypeBool:
		dst = append(dst, '"')
		dst = strconv.AppendBool(dst, v.Bool())
		dst = append(dst, '"')
	case pcommon.ValueTypeDouble:
		dst = append(dst, '"')
		dst = appendDouble(dst, v.Double())
		dst = append(dst, '"')
	case pcommon.ValueTypeBytes:
		e.nested = base64.StdEncoding.AppendEncode(e.nested[:0], v.Bytes().AsRaw())
		dst, _, cut = appendjson.String(dst, e.nested, limit)
	default:
		e.nested = appendNested(e.nested[:0], v, 0)
		dst, _, cut = appendjson.String(dst, e.nested, limit)
	}
	e.cutProperty(cut)
	return dst
}

// appendDouble writes the text of a number, where JSON has none in JavaScript's words.
func appendDouble(dst []byte, f float64) []byte {
	if out, ok := appendjson.Float(dst, f); ok {
		return out
	}
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	default:
		return append(dst, "NaN"...)
	}
}

// maxNesting is how deep lists and maps are followed; what lies deeper becomes null.
const maxNesting = 64

// appendNested writes a value as JSON.
func appendNested(dst []byte, v pcommon.Value, depth int) []byte {
	if depth > maxNesting {
		return append(dst, "null"...)
	}
	switch v.Type() {
	case pcommon.ValueTypeStr:
		dst, _, _ = appendjson.String(dst, v.Str(), appendjson.NoLimit)
	case pcommon.ValueTypeInt:
		dst = strconv.AppendInt(dst, v.Int(), 10)
	case pcommon.ValueTypeBool:
		dst = strconv.AppendBool(dst, v.Bool())
	case pcommon.ValueTypeDouble:
		if out, ok := appendjson.Float(dst, v.Double()); ok {
			return out
		}
		dst = append(dst, '"')
		dst = appendDouble(dst, v.Double())
		dst = append(dst, '"')
	case pcommon.ValueTypeBytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes().AsRaw())
		dst = append(dst, '"')
	case pcommon.ValueTypeSlice:
		dst = append(dst, '[')
		for i, item := range v.Slice().All() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendNested(dst, item, depth+1)
		}
		dst = append(dst, ']')
	case pcommon.ValueTypeMap:
		dst = append(dst, '{')
		first := true
		for k, item := range v.Map().All() {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst, _, _ = appendjson.String(dst, k, appendjson.NoLimit)
			dst = append(dst, ':')
			dst = appendNested(dst, item, depth+1)
		}
		dst = append(dst, '}')
	default:
		dst = append(dst, "null"...)
	}
	return dst
}

// item writes one envelope with write and keeps it below maxItemBytes: an envelope that is too large is written
// again with less and less free text. It reports false, and leaves nothing in buf, when that does not help.
func (e *encoder) item(write func()) bool {
	start, cut := len(e.buf), e.cut
	write()
	if len(e.buf)-start <= maxItemBytes {
		return true
	}
	defer func() { e.freeText = appendjson.NoLimit }()
	for e.freeText = limitMessage / 2; e.freeText >= minFreeText; e.freeText /= 2 {
		e.buf, e.cut = e.buf[:start], cut
		write()
		if len(e.buf)-start <= maxItemBytes {
			return true
		}
	}
	e.buf, e.cut = e.buf[:start], cut
	return false
}

func (e *encoder) setScope(s pcommon.InstrumentationScope) {
	e.scopeOf, e.hasScope = s, true
}
