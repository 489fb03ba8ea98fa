// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const exceptionEvent = "exception"

// isException tells whether an event is an exception. An event that comes from Python's Jaeger exporter has its name in
// an attribute called message, and none of its own.
func isException(ev ptrace.SpanEvent) bool {
	if ev.Name() != "" {
		return ev.Name() == exceptionEvent
	}
	_, ok := ev.Attributes().Get("exception.type")
	return ok
}

// wants tells whether an event becomes an item of its own.
func (m *mapping) wants(ev ptrace.SpanEvent) bool {
	switch m.spanEvents {
	case SpanEventsAll:
		return true
	case SpanEventsExceptions:
		return isException(ev)
	default:
		return false
	}
}

// spanEvent writes the envelope of an event: a child of the span that it happened in. The attributes of the span
// must be collected.
func (e *encoder) spanEvent(s ptrace.Span, ev ptrace.SpanEvent) {
	f := &e.event
	f.clear()
	f.collect(ev.Attributes())
	ts := ev.Timestamp()
	if ts == 0 {
		ts = s.StartTimestamp()
	}
	if ts == 0 {
		ts = pcommon.NewTimestampFromTime(e.now())
	}
	exception := isException(ev)
	name := "Message"
	if exception {
		name = "Exception"
	}
	e.begin(name, ts, sampleRate(&e.own, s.TraceState().AsRaw()))
	traceID, spanID := s.TraceID(), s.SpanID()
	e.tagHex(`"ai.operation.id":`, traceID[:])
	e.tagHex(`"ai.operation.parentId":`, spanID[:])
	if opName := operationName(&e.own, s); !opName.empty() {
		e.tagText(`"ai.operation.name":`, &opName, limitName)
	}
	e.itemTags(&e.own, s.Kind() == ptrace.SpanKindServer)
	if exception {
		e.data("ExceptionData")
		e.exception(f, "", severityUnknown)
	} else {
		e.data("MessageData")
		message := textOf(ev.Name())
		if message.empty() {
			message.str(unnamed)
		}
		e.freeField(`,"message":`, &message, limitMessage)
	}
	e.openProperties()
	e.exceptionlessProperties(ev.Attributes(), exception)
	e.closeProperties()
	e.measurements(f, -1)
	e.end()
}

// Severity levels of Application Insights.
const (
	severityUnknown = iota - 1
	severityVerbose
	severityInformation
	severityWarning
	severityError
	severityCritical
)

func (e *encoder) severity(level int) {
	if level != severityUnknown {
		e.raw(`,"severityLevel":`)
		e.buf = strconv.AppendInt(e.buf, int64(level), 10)
	}
}

// exception writes the fields of ExceptionData. Ingestion wants a message that is not empty: else of what is
// there it is body, or the type.
func (e *encoder) exception(f *found, body string, level int) {
	typ := f.str(attrExceptionType)
	message := f.str(attrExceptionMessage)
	for _, other := range []string{body, typ, "Exception"} {
		if message == "" {
			message = other
		}
	}
	stack := f.str(attrExceptionStacktrace)
	e.raw(`,"exceptions":[{"typeName":`)
	if typ == "" {
		typ = "Exception"
	}
	typeText, messageText, stackText := textOf(typ), textOf(message), textOf(stack)
	var cut bool
	e.buf, cut = typeText.append(e.buf, limitField)
	e.cutField(cut)
	e.freeField(`,"message":`, &messageText, limitMessage)
	e.freeField(`,"stack":`, &stackText, limitStack)
	e.boolField(`,"hasFullStack":`, stack != "")
	e.raw("}]")
	e.severity(level)
}

// exceptionlessProperties writes attributes as properties. Of an exception, type, message and stack trace have
// fields, and the trace is too long to send twice.
func (e *encoder) exceptionlessProperties(m pcommon.Map, exception bool) {
	if !exception {
		e.properties(m)
		return
	}
	for k, v := range m.All() {
		h := keyHash(k)
		switch a := lookupAttr(k, h); a {
		case attrExceptionType, attrExceptionMessage, attrExceptionStacktrace:
		default:
			e.attribute(a, k, h, v)
		}
	}
}
