// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-custom/otelcol-custom/exporter/applicationinsightsexporter/internal/appendjson"
)

// span writes the envelope of a span: a request for what a process was asked to do, a dependency for the rest.
func (e *encoder) span(s ptrace.Span) {
	f := &e.own
	kind := s.Kind()
	start := s.StartTimestamp()
	if start == 0 {
		start = s.EndTimestamp()
	}
	ts := start
	if ts == 0 {
		ts = pcommon.NewTimestampFromTime(e.now())
	}
	request := kind == ptrace.SpanKindServer || kind == ptrace.SpanKindConsumer
	name := "RemoteDependency"
	if request {
		name = "Request"
	}
	opName := operationName(f, s)
	e.begin(name, ts, sampleRate(f, s.TraceState().AsRaw()))
	traceID, spanID, parentID := s.TraceID(), s.SpanID(), s.ParentSpanID()
	e.tagHex(`"ai.operation.id":`, traceID[:])
	e.tagHex(`"ai.operation.parentId":`, parentID[:])
	e.tagText(`"ai.operation.name":`, &opName, limitName)
	e.itemTags(f, kind == ptrace.SpanKindServer)
	if request {
		e.data("RequestData")
		e.raw(`,"id":`)
		e.buf = appendHex(e.buf, spanID[:])
		e.request(s, &opName)
	} else {
		e.data("RemoteDependencyData")
		e.raw(`,"id":`)
		e.buf = appendHex(e.buf, spanID[:])
		e.dependency(s)
	}
	e.raw(`,"duration":`)
	e.buf = appendDuration(e.buf, start, s.EndTimestamp())
	e.openProperties()
	e.properties(s.Attributes())
	e.links(s.Links())
	e.stringProperty("otel.status_description", s.Status().Message())
	e.closeProperties()
	e.measurements(f, sinceEnqueued(f, s))
	e.end()
}

// itemTags writes the tags on user, session, client and device.
func (e *encoder) itemTags(f *found, server bool) {
	e.tag(`"ai.user.authUserId":`, f.str(attrEnduserID), limitTagLong)
	e.tag(`"ai.user.id":`, f.str(attrEnduserPseudoID), limitTagID)
	e.tag(`"ai.user.accountId":`, f.str(attrAIUserAccountID), limitTagLong)
	e.tag(`"ai.user.userAgent":`, f.str(attrUserAgentOriginal, attrHTTPUserAgent), limitURL)
	e.tag(`"ai.session.id":`, f.str(attrMicrosoftSessionID, attrSessionID), limitTagShort)
	if f.any(attrUserAgentSyntheticType) {
		e.tag(`"ai.operation.syntheticSource":`, "True", limitTagLong)
	}
	ip := f.str(attrMicrosoftClientIP)
	if ip == "" && server {
		ip = f.str(attrClientAddress, attrHTTPClientIP, attrNetworkPeerAddress, attrNetPeerIP, attrNetSockPeerAddr)
	}
	e.tag(`"ai.location.ip":`, ip, limitTagIP)
	e.deviceTags(f)
}

// operationName names the operation that a request starts; a dependency has one only if the application says so.
func operationName(f *found, s ptrace.Span) (t text) {
	if name := f.str(attrMicrosoftOperationName, attrAIOperationName); name != "" {
		return textOf(name)
	}
	switch s.Kind() {
	case ptrace.SpanKindServer:
		method := httpMethod(f)
		if method == "" {
			break
		}
		if route := f.str(attrHTTPRoute); route != "" {
			return textOf(method, " ", route)
		}
		if url := splitURL(fullURL(f)); url.ok {
			return textOf(method, " ", url.path)
		}
		// The conventions ask for a span name of method and route, and for the bare method if there is no
		// route. That would make one operation of everything.
		if path := serverPath(f); path != "" && (s.Name() == method || s.Name() == "HTTP "+method || s.Name() == "") {
			return textOf(method, " ", path)
		}
	case ptrace.SpanKindConsumer:
	default:
		return t
	}
	if s.Name() == "" {
		return textOf(unnamed)
	}
	return textOf(s.Name())
}

func serverPath(f *found) string {
	if path := f.str(attrURLPath); path != "" {
		return path
	}
	path, _, _ := strings.Cut(f.str(attrHTTPTarget), "?")
	return path
}

// request writes the fields of RequestData but for id and duration.
func (e *encoder) request(s ptrace.Span, opName *text) {
	f := &e.own
	name := textOf(f.str(attrMicrosoftRequestName))
	if name.empty() {
		name = *opName
	}
	e.field(`,"name":`, &name, limitName)

	url := textOf(f.str(attrMicrosoftRequestURL))
	if url.empty() {
		url = httpURL(f, true)
	}
	e.freeField(`,"url":`, &url, limitURL)

	var source text
	switch {
	case f.any(attrMicrosoftRequestSource):
		source.str(f.str(attrMicrosoftRequestSource))
	case s.Kind() == ptrace.SpanKindConsumer && azureMessaging(f) != "":
		source = azureEntity(f)
	case s.Kind() == ptrace.SpanKindConsumer && f.any(attrMessagingSystem):
		source = brokerAddress(f)
	}
	e.field(`,"source":`, &source, limitField)

	status, hasStatus := httpStatus(f)
	code := textOf(f.str(attrMicrosoftRequestResultCode))
	if code.empty() && hasStatus {
		code.value(status)
	}
	if code.empty() {
		code = rpcStatus(f)
	}
	if code.empty() {
		code.str("0")
	}
	e.field(`,"responseCode":`, &code, limitField)

	success := true
	switch s.Status().Code() {
	case ptrace.StatusCodeError:
		success = false
	case ptrace.StatusCodeOk:
	default:
		if hasStatus {
			n := intOf(status)
			success = n < 400 || (e.clientErrorOK && n < 500)
		}
	}
	e.boolField(`,"success":`, success)
}

// dependency writes the fields of RemoteDependencyData but for id and duration. Of several conventions in one
// span HTTP wins over databases, databases over remote procedure calls, and those over messaging.
func (e *encoder) dependency(s ptrace.Span) {
	f := &e.own
	var name, typ, data, code, to text
	if s.Name() != "" {
		name.str(s.Name())
	}
	switch s.Kind() {
	case ptrace.SpanKindProducer:
		typ.str("Queue Message")
	case ptrace.SpanKindClient:
		typ.str("Dependency")
	default:
		typ.str("InProc")
	}
	method := httpMethod(f)
	db := f.str(attrDBSystemName, attrDBSystem)
	rpc := f.str(attrRPCSystemName, attrRPCSystem)
	messaging := f.str(attrMessagingSystem)
	switch {
	case method != "":
		if url := splitURL(fullURL(f)); url.ok {
			name = textOf(method, " ", url.path)
		}
		typ = textOf("Http")
		data = httpURL(f, false)
		if status, ok := httpStatus(f); ok {
			code.value(status)
		}
		to = target(f, 0)
	case db != "":
		typ = textOf(dbType(db))
		data.str(f.str(attrDBQueryText, attrDBStatement, attrDBOperationName, attrDBOperation))
		if status, ok := f.first(attrDBResponseStatusCode); ok {
			code.value(status)
		}
		to = target(f, dbPort(db))
		if database := f.str(attrDBNamespace, attrDBName); database != "" {
			if !to.empty() {
				to.str("|")
			}
			to.str(database)
		}
		if to.empty() {
			to.str(db)
		}
	case rpc != "":
		typ = textOf(rpcType(rpc))
		code = rpcStatus(f)
		if to = target(f, 0); to.empty() {
			to.str(rpc)
		}
	case messaging != "":
		switch s.Kind() {
		case ptrace.SpanKindProducer:
			typ = textOf("Queue Message | ", messaging)
		case ptrace.SpanKindClient:
			typ = textOf(messaging)
		}
		if s.Kind() == ptrace.SpanKindProducer || s.Kind() == ptrace.SpanKindClient {
			if to = brokerAddress(f); to.empty() {
				to.str(messaging)
			}
		}
	case f.any(attrGenAIProviderName, attrGenAISystem):
		if s.Kind() == ptrace.SpanKindClient {
			typ = textOf(f.str(attrGenAIProviderName, attrGenAISystem))
		}
		to = target(f, 0)
	case s.Kind() == ptrace.SpanKindClient || s.Kind() == ptrace.SpanKindProducer:
		to = target(f, 0)
	}

	if namespace := f.str(attrAzureResourceProvider, attrAzNamespace); namespace != "" {
		messaging := azureMessaging(f) != ""
		switch {
		case s.Kind() == ptrace.SpanKindClient && messaging:
			typ, to = textOf(namespace), azureEntity(f)
		case s.Kind() == ptrace.SpanKindProducer && messaging:
			typ, to = textOf("Queue Message | ", namespace), azureEntity(f)
		case s.Kind() == ptrace.SpanKindInternal, s.Kind() == ptrace.SpanKindUnspecified:
			typ = textOf("InProc | ", namespace)
		}
	}

	override(f, attrMicrosoftDependencyName, &name)
	override(f, attrMicrosoftDependencyType, &typ)
	override(f, attrMicrosoftDependencyData, &data)
	override(f, attrMicrosoftDependencyResultCode, &code)
	override(f, attrMicrosoftDependencyTarget, &to)
	if name.empty() {
		name.str(unnamed)
	}
	if code.empty() {
		code.str("0")
	}
	e.field(`,"name":`, &name, limitName)
	e.field(`,"type":`, &typ, limitField)
	e.freeField(`,"data":`, &data, limitData)
	e.field(`,"target":`, &to, limitField)
	e.field(`,"resultCode":`, &code, limitField)
	e.boolField(`,"success":`, s.Status().Code() != ptrace.StatusCodeError)
}

func override(f *found, a attr, t *text) {
	if v := f.str(a); v != "" {
		*t = textOf(v)
	}
}

// dbTypes gives the names that Application Insights knows databases by, for the names in the conventions, old
// and new. Other names stay as they are.
var dbTypes = map[string]string{
	"mssql": "SQL", "microsoft.sql_server": "SQL",
	"oracle": "SQL", "oracle.db": "SQL",
	"db2": "SQL", "ibm.db2": "SQL",
	"h2": "SQL", "h2database": "SQL",
	"mariadb": "SQL", "sqlite": "SQL", "derby": "SQL", "hsqldb": "SQL", "other_sql": "SQL",
	// Renamed without a place in the group above: one type for both names, the older one.
	"aws.dynamodb": "dynamodb", "aws.redshift": "redshift", "azure.cosmosdb": "cosmosdb", "gcp.spanner": "spanner",
	"ibm.informix": "informix", "sap.hana": "hanadb", "sap.maxdb": "maxdb", "softwareag.adabas": "adabas",
	"intersystems.cache": "cache", "actian.ingres": "ingres",
}

func dbType(system string) string {
	if t, ok := dbTypes[system]; ok {
		return t
	}
	return system
}

// dbPorts are the ports that go without saying.
var dbPorts = map[string]int64{
	"mssql": 1433, "microsoft.sql_server": 1433, "oracle": 1521, "oracle.db": 1521, "db2": 50000, "ibm.db2": 50000,
	"h2": 8082, "h2database": 8082, "derby": 1527, "mysql": 3306, "mariadb": 3306, "postgresql": 5432,
	"mongodb": 27017, "redis": 6379, "cassandra": 9042, "memcached": 11211,
}

// dbPort returns a port that no server has for a database without a well-known one.
func dbPort(system string) int64 {
	if p, ok := dbPorts[system]; ok {
		return p
	}
	return -1
}

func rpcType(system string) string {
	switch system {
	case "grpc":
		return "GRPC"
	case "dotnet_wcf", "WCF Service":
		return "WCF Service"
	}
	return system
}

// grpcCodes are the names of gRPC's status codes, which the newer convention records in place of the numbers.
var grpcCodes = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// rpcStatus is the status of a call as the older convention has it: gRPC's as a number.
func rpcStatus(f *found) (t text) {
	v, ok := f.first(attrRPCResponseStatusCode, attrRPCGRPCStatusCode, attrRPCConnectErrorCode, attrRPCJSONErrorCode)
	if !ok {
		return t
	}
	if v.Type() == pcommon.ValueTypeStr && f.str(attrRPCSystemName, attrRPCSystem) == "grpc" {
		for code, name := range grpcCodes {
			if name == v.Str() {
				t.int(int64(code))
				return t
			}
		}
	}
	t.value(v)
	return t
}

// azureMessaging returns the namespace of a span of the Event Hubs or Service Bus client.
func azureMessaging(f *found) string {
	switch namespace := f.str(attrAzureResourceProvider, attrAzNamespace); namespace {
	case "Microsoft.EventHub", "Microsoft.ServiceBus":
		return namespace
	default:
		return ""
	}
}

// azureEntity is peer/entity as the Azure client libraries are shown.
func azureEntity(f *found) text {
	peer := strings.TrimSuffix(f.str(attrServerAddress, attrNetPeerName, attrPeerAddress), "/")
	if peer == "" {
		peer = "unknown"
	}
	entity := f.str(attrMessagingDestinationName, attrMessagingDestination, attrMessageBusDestination)
	if entity == "" {
		entity = "unknown"
	}
	return textOf(peer, "/", entity)
}

// sinceEnqueued is how long, in milliseconds, the messages that a consumer took had waited. It is negative when
// that is not known.
func sinceEnqueued(f *found, s ptrace.Span) float64 {
	if s.Kind() != ptrace.SpanKindConsumer {
		return -1
	}
	startMS := float64(s.StartTimestamp()) / 1e6
	if azureMessaging(f) != "" {
		sum, n := 0.0, 0
		for _, l := range s.Links().All() {
			if v, ok := l.Attributes().Get("enqueuedTime"); ok {
				if ms, ok := number(v); ok {
					sum += startMS - ms
					n++
				}
			}
		}
		if n > 0 {
			return max(sum/float64(n), 0)
		}
	}
	if v, ok := f.first(attrEnqueuedTime); ok {
		if s, ok := number(v); ok {
			return max(startMS-s*1000, 0)
		}
	}
	if v, ok := f.first(attrKafkaQueueTime); ok {
		if ms, ok := number(v); ok {
			return max(ms, 0)
		}
	}
	return -1
}

// number reads a finite number in any of its guises.
func number(v pcommon.Value) (float64, bool) {
	var n float64
	switch v.Type() {
	case pcommon.ValueTypeInt:
		n = float64(v.Int())
	case pcommon.ValueTypeDouble:
		n = v.Double()
	case pcommon.ValueTypeStr:
		var err error
		if n, err = strconv.ParseFloat(v.Str(), 64); err != nil {
			return 0, false
		}
	default:
		return 0, false
	}
	return n, !math.IsNaN(n) && !math.IsInf(n, 0)
}

// maxLinks keeps the JSON of the links, at 75 characters and a comma each, well below the limit of a property:
// cut later it would no longer be JSON.
const maxLinks = 100

const linksKey = "_MS.links"

// links writes the property that the portal reads links from.
func (e *encoder) links(links ptrace.SpanLinkSlice) {
	n := min(links.Len(), maxLinks)
	if n == 0 {
		return
	}
	if e.freeText < limitPropertyValue {
		n = min(n, e.freeText/76)
		if n == 0 {
			e.cut.properties++
			return
		}
	}
	if n < links.Len() {
		e.cut.properties++
	}
	e.claim(linksKey, keyHash(linksKey))
	e.propertyKey(linksKey)
	e.raw(`"[`)
	for i := range n {
		l := links.At(i)
		traceID, spanID := l.TraceID(), l.SpanID()
		if i > 0 {
			e.raw(",")
		}
		e.raw(`{\"operation_Id\":\"`)
		e.unquotedHex(traceID[:])
		e.raw(`\",\"id\":\"`)
		e.unquotedHex(spanID[:])
		e.raw(`\"}`)
	}
	e.raw(`]"`)
}

func (e *encoder) unquotedHex(id []byte) {
	at := len(e.buf)
	e.buf = appendHex(e.buf, id)
	copy(e.buf[at:], e.buf[at+1:len(e.buf)-1])
	e.buf = e.buf[:len(e.buf)-2]
}

// measurements writes the numbers that the application measured itself, and how long messages had waited unless
// that is negative.
func (e *encoder) measurements(f *found, waited float64) {
	v, ok := f.first(attrCustomMeasurements)
	if !ok && waited < 0 {
		return
	}
	at := len(e.buf)
	const open = `,"measurements":{`
	e.raw(open)
	e.keys, e.filter = e.keys[:0], keyFilter{}
	if ok {
		e.customMeasurements(v)
	}
	if waited >= 0 {
		e.measurement("timeSinceEnqueued", waited)
	}
	if len(e.buf) == at+len(open) {
		e.buf = e.buf[:at]
		return
	}
	e.raw("}")
}

func (e *encoder) measurement(key string, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	key, h := clean(key, keyHash(key))
	if !e.claim(key, h) {
		return
	}
	e.propertyKey(key)
	e.buf, _ = appendjson.Float(e.buf, value)
}

// customMeasurements takes a map from name to number, or the same as JSON text.
func (e *encoder) customMeasurements(v pcommon.Value) {
	if v.Type() == pcommon.ValueTypeStr {
		m := pcommon.NewValueMap()
		if parseMeasurements(v.Str(), m.Map()) {
			v = m
		}
	}
	if v.Type() != pcommon.ValueTypeMap {
		return
	}
	for k, n := range v.Map().All() {
		switch n.Type() {
		case pcommon.ValueTypeInt:
			e.measurement(k, float64(n.Int()))
		case pcommon.ValueTypeDouble:
			e.measurement(k, n.Double())
		}
	}
}

// sampleRate is the percentage of spans that was kept where this one was: as the application says, else from the
// threshold that a consistent probability sampler leaves in the trace state, else all.
func sampleRate(f *found, traceState string) float64 {
	if v, ok := f.first(attrMicrosoftSampleRate, attrMSSampleRate); ok {
		if rate, ok := number(v); ok && rate > 0 && rate <= 100 {
			return rate
		}
	}
	if threshold, ok := samplingThreshold(traceState); ok {
		return (1 - float64(threshold)/(1<<56)) * 100
	}
	return 100
}

// samplingThreshold reads th of the ot entry: the upper hexadecimal digits of a 56-bit number below which a
// trace was dropped.
func samplingThreshold(traceState string) (uint64, bool) {
	if len(traceState) < len("ot=th:0") {
		return 0, false
	}
	for entry := range strings.SplitSeq(traceState, ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(entry), "ot=")
		if !ok {
			continue
		}
		for field := range strings.SplitSeq(value, ";") {
			digits, ok := strings.CutPrefix(field, "th:")
			if !ok || digits == "" || len(digits) > 14 {
				continue
			}
			n, err := strconv.ParseUint(digits, 16, 64)
			if err != nil {
				return 0, false
			}
			return n << (4 * (14 - len(digits))), true
		}
	}
	return 0, false
}
