// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/appendjson"
)

// logKind is what a log record becomes.
type logKind uint8

const (
	logMessage logKind = iota
	logException
	logEvent
	logAvailability
	logReadyMade
)

// readyMade gives the short envelope name of each base type that an application may send ready made.
var readyMade = map[string]string{
	"AvailabilityData": "Availability",
	"ExceptionData":    "Exception",
	"MessageData":      "Message",
	"PageViewData":     "PageView",
	"EventData":        "Event",
}

// kindOfLog decides by the attributes alone, the first rule that holds.
func kindOfLog(f *found, body pcommon.Value) logKind {
	switch {
	case f.any(attrMSBaseType):
		if _, ok := readyMade[f.str(attrMSBaseType)]; ok && body.Type() == pcommon.ValueTypeMap {
			return logReadyMade
		}
		return logMessage
	case f.any(attrExceptionType, attrExceptionMessage):
		return logException
	case f.any(attrCustomEventName), f.has(attrEventMarker):
		return logEvent
	case f.has(attrAvailabilitySuccess) && f.any(attrAvailabilityID) && f.any(attrAvailabilityName) && f.any(attrAvailabilityDuration):
		return logAvailability
	default:
		return logMessage
	}
}

// log writes the envelope of a log record.
func (e *encoder) log(r plog.LogRecord) {
	f := &e.own
	kind := kindOfLog(f, r.Body())
	ts := r.Timestamp()
	if ts == 0 {
		ts = r.ObservedTimestamp()
	}
	if ts == 0 {
		ts = pcommon.NewTimestampFromTime(e.now())
	}
	name, baseType := "Message", "MessageData"
	switch kind {
	case logException:
		name, baseType = "Exception", "ExceptionData"
	case logEvent:
		name, baseType = "Event", "EventData"
	case logAvailability:
		name, baseType = "Availability", "AvailabilityData"
	case logReadyMade:
		baseType = f.str(attrMSBaseType)
		name = readyMade[baseType]
	}
	e.begin(name, ts, sampleRate(f, ""))
	traceID, spanID := r.TraceID(), r.SpanID()
	e.tagHex(`"ai.operation.id":`, traceID[:])
	e.tagHex(`"ai.operation.parentId":`, spanID[:])
	e.tag(`"ai.operation.name":`, f.str(attrMicrosoftOperationName, attrAIOperationName), limitName)
	e.itemTags(f, false)
	e.data(baseType)
	severity := severityOf(r.SeverityNumber())
	body := logBody(r)
	switch kind {
	case logException:
		e.exception(f, body, severity)
	case logEvent:
		event := textOf(firstOf(f.str(attrCustomEventName), body))
		if event.empty() {
			event.str(unnamed)
		}
		e.field(`,"name":`, &event, limitEventName)
	case logAvailability:
		e.availability(f, body)
	case logReadyMade:
		e.readyMade(r.Body().Map())
	default:
		message := textOf(body)
		if message.empty() {
			message.str("n/a")
		}
		e.freeField(`,"message":`, &message, limitMessage)
		e.severity(severity)
	}
	e.openProperties()
	e.exceptionlessProperties(r.Attributes(), kind == logException)
	if kind == logException && f.any(attrExceptionMessage) {
		e.stringProperty("log.body", body)
	}
	e.stringProperty("event.name", r.EventName())
	e.closeProperties()
	if kind == logReadyMade {
		e.readyMadeMeasurements(f, r.Body().Map())
	} else {
		e.measurements(f, -1)
	}
	e.end()
}

// logBody is the body as text, lists and maps as their JSON; a record without one is known by its event name.
func logBody(r plog.LogRecord) string {
	body := r.Body()
	switch body.Type() {
	case pcommon.ValueTypeStr:
		if s := body.Str(); s != "" {
			return s
		}
	case pcommon.ValueTypeMap, pcommon.ValueTypeSlice:
		return string(appendNested(nil, body, 0))
	case pcommon.ValueTypeDouble:
		return string(appendDouble(nil, body.Double()))
	case pcommon.ValueTypeEmpty:
	default:
		return body.AsString()
	}
	return r.EventName()
}

func severityOf(n plog.SeverityNumber) int {
	switch {
	case n <= 0 || n > 24:
		return severityUnknown
	case n < 9:
		return severityVerbose
	case n < 13:
		return severityInformation
	case n < 17:
		return severityWarning
	case n < 21:
		return severityError
	default:
		return severityCritical
	}
}

// availability writes the fields of AvailabilityData, as the application gives them.
func (e *encoder) availability(f *found, body string) {
	e.strField(`,"id":`, f.str(attrAvailabilityID), limitID)
	e.strField(`,"name":`, f.str(attrAvailabilityName), limitName)
	e.strField(`,"duration":`, f.str(attrAvailabilityDuration), limitTagShort)
	v, _ := f.vals[attrAvailabilitySuccess], f.has(attrAvailabilitySuccess)
	success := v.Type() == pcommon.ValueTypeBool && v.Bool()
	if v.Type() == pcommon.ValueTypeStr {
		switch v.Str() {
		case "true", "True", "TRUE":
			success = true
		}
	}
	e.boolField(`,"success":`, success)
	e.strField(`,"runLocation":`, f.str(attrAvailabilityRunLocation), limitField)
	message := textOf(firstOf(f.str(attrAvailabilityMessage), body))
	e.freeField(`,"message":`, &message, limitData)
}

// readyMade writes the fields of base data that the application has put together. What every item has comes from
// the record all the same: version, properties and measurements.
func (e *encoder) readyMade(body pcommon.Map) {
	e.keys, e.filter = e.keys[:0], keyFilter{}
	for k, v := range body.All() {
		switch k {
		case "ver", "version", "kind", "baseType", "properties", "measurements":
			continue
		}
		if v.Type() == pcommon.ValueTypeEmpty {
			continue
		}
		k, h := clean(k, keyHash(k))
		if !e.claim(k, h) {
			continue
		}
		e.raw(",")
		e.buf, _, _ = appendjson.String(e.buf, k, limitPropertyKey)
		e.raw(":")
		if k == "message" && v.Type() != pcommon.ValueTypeStr {
			e.nested = appendNested(e.nested[:0], v, 0)
			e.buf, _, _ = appendjson.String(e.buf, e.nested, min(limitMessage, e.freeText))
			continue
		}
		if v.Type() == pcommon.ValueTypeStr {
			var cut bool
			e.buf, _, cut = appendjson.String(e.buf, v.Str(), min(limitMessage, e.freeText))
			e.cutField(cut)
			continue
		}
		e.buf = appendNested(e.buf, v, 0)
	}
}

func (e *encoder) readyMadeMeasurements(f *found, body pcommon.Map) {
	if !f.any(attrCustomMeasurements) {
		if v, ok := body.Get("measurements"); ok && v.Type() == pcommon.ValueTypeMap {
			f.put(attrCustomMeasurements, v)
		}
	}
	e.measurements(f, -1)
}
