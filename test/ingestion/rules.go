// SPDX-License-Identifier: Apache-2.0

package ingestion

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits that belong to no single field.
const (
	maxItemBytes     = 64 << 10
	maxItems         = 64_000
	maxKey           = 150
	maxPropertyValue = 8192
	maxGenAIValue    = 262_144

	oldest = 48 * time.Hour // before the service's clock
	newest = 2 * time.Hour  // after it
)

type kind int

const (
	text kind = iota
	number
	integer
	boolean
	duration
	severity
	pointKind
	texts      // map of text: properties
	numbers    // map of numbers: measurements
	exceptions // list of ExceptionDetails
	frames     // list of StackFrame
	points     // list of DataPoint
)

// field is a row of the schema. A required text must not be empty either.
type field struct {
	name     string
	kind     kind
	max      int // characters of a text; 0 is no limit
	required bool
}

// schema has the fields of each base type. What it does not name is ignored,
// as the service ignores it.
var schema = map[string][]field{
	"RequestData": {
		{"id", text, 512, true},
		{"name", text, 1024, false},
		{"duration", duration, 0, true},
		{"responseCode", text, 1024, true},
		{"success", boolean, 0, true},
		{"source", text, 1024, false},
		{"url", text, 2048, false},
		{"properties", texts, 0, false},
		{"measurements", numbers, 0, false},
	},
	"RemoteDependencyData": {
		{"name", text, 1024, true},
		{"id", text, 512, false},
		{"resultCode", text, 1024, false},
		{"duration", duration, 0, true},
		{"success", boolean, 0, false},
		{"data", text, 8192, false},
		{"type", text, 1024, false},
		{"target", text, 1024, false},
		{"properties", texts, 0, false},
		{"measurements", numbers, 0, false},
	},
	"ExceptionData": {
		{"exceptions", exceptions, 0, true},
		{"severityLevel", severity, 0, false},
		{"problemId", text, 1024, false},
		{"properties", texts, 0, false},
		{"measurements", numbers, 0, false},
	},
	"MessageData": {
		{"message", text, 32768, true},
		{"severityLevel", severity, 0, false},
		{"properties", texts, 0, false},
		{"measurements", numbers, 0, false},
	},
	"MetricData": {
		{"metrics", points, 0, true},
		{"properties", texts, 0, false},
	},
	"EventData": {
		{"name", text, 512, true},
		{"properties", texts, 0, false},
		{"measurements", numbers, 0, false},
	},
	"PageViewData": {
		{"name", text, 1024, true},
		{"id", text, 512, false},
		{"url", text, 2048, false},
		{"referrerUri", text, 2048, false},
		{"duration", duration, 0, false},
		{"properties", texts, 0, false},
		{"measurements", numbers, 0, false},
	},
	"AvailabilityData": {
		{"id", text, 512, true},
		{"name", text, 1024, true},
		{"duration", duration, 0, true},
		{"success", boolean, 0, true},
		{"runLocation", text, 1024, false},
		{"message", text, 8192, false},
		{"properties", texts, 0, false},
		{"measurements", numbers, 0, false},
	},
}

var (
	exceptionDetails = []field{
		{"id", integer, 0, false},
		{"outerId", integer, 0, false},
		{"typeName", text, 1024, false},
		{"message", text, 32768, true},
		{"hasFullStack", boolean, 0, false},
		{"stack", text, 32768, false},
		{"parsedStack", frames, 0, false},
	}
	stackFrame = []field{
		{"level", integer, 0, false},
		{"method", text, 1024, false},
		{"assembly", text, 1024, false},
		{"fileName", text, 1024, false},
		{"line", integer, 0, false},
	}
	dataPoint = []field{
		{"ns", text, 256, false},
		{"name", text, 1024, true},
		{"kind", pointKind, 0, false},
		{"value", number, 0, true},
		{"count", integer, 0, false},
		{"min", number, 0, false},
		{"max", number, 0, false},
		{"stdDev", number, 0, false},
	}
)

// tagLimits are in characters; other tags are ignored.
var tagLimits = map[string]int{
	"ai.operation.id":                128,
	"ai.operation.parentId":          128,
	"ai.operation.name":              1024,
	"ai.operation.syntheticSource":   1024,
	"ai.operation.correlationVector": 64,
	"ai.user.id":                     128,
	"ai.user.authUserId":             1024,
	"ai.user.accountId":              1024,
	"ai.user.userAgent":              2048,
	"ai.session.id":                  64,
	"ai.session.isFirst":             5,
	"ai.location.ip":                 46,
	"ai.cloud.role":                  256,
	"ai.cloud.roleInstance":          256,
	"ai.application.ver":             1024,
	"ai.device.id":                   1024,
	"ai.device.locale":               64,
	"ai.device.type":                 64,
	"ai.device.model":                256,
	"ai.device.oemName":              256,
	"ai.device.osVersion":            256,
	"ai.internal.sdkVersion":         64,
	"ai.internal.agentVersion":       64,
	"ai.internal.nodeName":           256,
}

var genAI = []string{
	"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions",
	"gen_ai.tool.definitions", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result",
	"gen_ai.evaluation.explanation",
}

// check says why an envelope is refused; nil when it is not.
func (e *Envelope) check(now time.Time) error {
	if e.size > maxItemBytes {
		return fmt.Errorf("the item has %d bytes, more than %d", e.size, maxItemBytes)
	}
	if err := checkText("Envelope", field{"name", text, 1024, true}, e.Name); err != nil {
		return err
	}
	if err := e.checkTime(now); err != nil {
		return err
	}
	if rate := e.SampleRate; rate != nil && (*rate <= 0 || *rate > 100) {
		return fmt.Errorf("field 'sampleRate' on type 'Envelope' is %v, not a percentage", *rate)
	}
	if err := checkText("Envelope", field{"seq", text, 64, false}, e.Seq); err != nil {
		return err
	}
	for tag, value := range e.Tags {
		if limit, known := tagLimits[tag]; known && utf8.RuneCountInString(value) > limit {
			return tooLong("ContextTagKeys", tag, limit)
		}
	}
	fields, known := schema[e.Data.BaseType]
	if !known {
		return fmt.Errorf("field 'baseType' on type 'Data' is %q, which is unknown", e.Data.BaseType)
	}
	return checkFields(e.Data.BaseType, fields, e.Data.BaseData)
}

func (e *Envelope) checkTime(now time.Time) error {
	if err := checkText("Envelope", field{"time", text, 64, true}, e.Time); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, e.Time)
	if err != nil {
		return fmt.Errorf("field 'time' on type 'Envelope' is %q, not a date and time of ISO 8601", e.Time)
	}
	if t.Before(now.Add(-oldest)) {
		return fmt.Errorf("103: Field 'time' on type 'Envelope' is older than the allowed min date: %s", e.Time)
	}
	if t.After(now.Add(newest)) {
		return fmt.Errorf("field 'time' on type 'Envelope' is younger than the allowed max date: %s", e.Time)
	}
	return nil
}

func checkFields(typ string, fields []field, data map[string]any) error {
	for _, f := range fields {
		value, ok := data[f.name]
		if !ok || value == nil {
			if f.required {
				return missing(typ, f.name)
			}
			continue
		}
		if err := checkValue(typ, f, value); err != nil {
			return err
		}
	}
	return nil
}

func checkValue(typ string, f field, value any) error {
	ok := true
	switch f.kind {
	case text:
		s, isText := value.(string)
		if isText {
			return checkText(typ, f, s)
		}
		ok = false
	case number:
		_, ok = value.(json.Number)
	case integer:
		n, isNumber := value.(json.Number)
		_, err := n.Int64()
		ok = isNumber && err == nil
	case boolean:
		_, ok = value.(bool)
	case duration:
		s, isText := value.(string)
		ok = isText && durationFormat.MatchString(s)
	case severity:
		ok = oneOf(value, "Verbose", "Information", "Warning", "Error", "Critical")
	case pointKind:
		ok = oneOf(value, "Measurement", "Aggregation")
	case texts:
		return checkTexts(typ, f.name, value)
	case numbers:
		return checkNumbers(typ, f.name, value)
	case exceptions:
		return checkList(typ, f, value, "ExceptionDetails", exceptionDetails, -1)
	case frames:
		return checkList(typ, f, value, "StackFrame", stackFrame, -1)
	case points:
		return checkList(typ, f, value, "DataPoint", dataPoint, 1) // the others are not looked at
	}
	if !ok {
		return wrong(typ, f.name, value)
	}
	return nil
}

// durationFormat is [days.]hours:minutes:seconds[.fraction], below 1,000 days.
var durationFormat = regexp.MustCompile(`^(\d{1,3}\.)?([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?$`)

// oneOf tells whether a value is one of the names of an enumeration or its
// number.
func oneOf(value any, names ...string) bool {
	switch v := value.(type) {
	case string:
		return slices.Contains(names, v)
	case json.Number:
		n, err := v.Int64()
		return err == nil && n >= 0 && n < int64(len(names))
	}
	return false
}

func checkText(typ string, f field, s string) error {
	if f.required && s == "" {
		return missing(typ, f.name)
	}
	if f.max > 0 && utf8.RuneCountInString(s) > f.max {
		return tooLong(typ, f.name, f.max)
	}
	return nil
}

func checkTexts(typ, name string, value any) error {
	pairs, ok := value.(map[string]any)
	if !ok {
		return wrong(typ, name, value)
	}
	for key, value := range pairs {
		s, ok := value.(string)
		if !ok {
			return wrong(typ, name+"."+key, value)
		}
		limit := maxPropertyValue
		if slices.Contains(genAI, key) {
			limit = maxGenAIValue
		}
		if utf8.RuneCountInString(key) > maxKey {
			return tooLong(typ, "key of "+name, maxKey)
		}
		if utf8.RuneCountInString(s) > limit {
			return tooLong(typ, name+"."+key, limit)
		}
	}
	return nil
}

func checkNumbers(typ, name string, value any) error {
	pairs, ok := value.(map[string]any)
	if !ok {
		return wrong(typ, name, value)
	}
	for key, value := range pairs {
		if _, ok := value.(json.Number); !ok {
			return wrong(typ, name+"."+key, value)
		}
		if utf8.RuneCountInString(key) > maxKey {
			return tooLong(typ, "key of "+name, maxKey)
		}
	}
	return nil
}

// checkList checks the first few elements of a list, or all when few is -1.
func checkList(typ string, f field, value any, elementType string, fields []field, few int) error {
	list, ok := value.([]any)
	if !ok {
		return wrong(typ, f.name, value)
	}
	if len(list) == 0 && f.required {
		return missing(typ, f.name)
	}
	if few >= 0 {
		list = list[:min(few, len(list))]
	}
	for _, element := range list {
		data, ok := element.(map[string]any)
		if !ok {
			return wrong(typ, f.name, element)
		}
		if err := checkFields(elementType, fields, data); err != nil {
			return err
		}
	}
	return nil
}

// The words of the service's messages 103 and 109 are known; the others are
// this package's own.

func missing(typ, name string) error {
	return fmt.Errorf("109: Field '%s' on type '%s' is required but missing or empty", name, typ)
}

func tooLong(typ, name string, limit int) error {
	return fmt.Errorf("field '%s' on type '%s' is longer than %d characters", name, typ, limit)
}

func wrong(typ, name string, value any) error {
	return fmt.Errorf("field '%s' on type '%s' must not be %s", name, typ, strings.TrimSpace(fmt.Sprintf("%T %.100v", value, value)))
}
