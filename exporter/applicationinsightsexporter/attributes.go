// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// attr is an attribute key that the mapping knows. Everything else is a property and nothing more.
type attr uint8

const (
	attrNone attr = iota

	// HTTP, URL and client
	attrHTTPRequestMethod
	attrHTTPMethod
	attrHTTPResponseStatusCode
	attrHTTPStatusCode
	attrHTTPRoute
	attrURLFull
	attrHTTPURL
	attrURLScheme
	attrHTTPScheme
	attrURLPath
	attrURLQuery
	attrHTTPTarget
	attrHTTPHost
	attrHTTPServerName
	attrHTTPClientIP
	attrHTTPFlavor
	attrHTTPStatusText
	attrUserAgentOriginal
	attrHTTPUserAgent
	attrUserAgentSyntheticType

	// network
	attrServerAddress
	attrServerPort
	attrClientAddress
	attrClientPort
	attrNetworkPeerAddress
	attrNetworkPeerPort
	attrNetworkLocalAddress
	attrNetworkLocalPort
	attrNetworkProtocolName
	attrNetworkProtocolVersion
	attrNetworkTransport
	attrNetPeerName
	attrNetPeerIP
	attrNetPeerPort
	attrNetHostName
	attrNetHostIP
	attrNetHostPort
	attrNetSockPeerName
	attrNetSockPeerAddr
	attrNetTransport
	attrPeerService
	attrServicePeerName
	attrPeerAddress
	attrErrorType

	// databases
	attrDBSystemName
	attrDBSystem
	attrDBQueryText
	attrDBStatement
	attrDBOperationName
	attrDBOperation
	attrDBNamespace
	attrDBName
	attrDBResponseStatusCode

	// remote procedure calls
	attrRPCSystemName
	attrRPCSystem
	attrRPCResponseStatusCode
	attrRPCGRPCStatusCode
	attrRPCConnectErrorCode
	attrRPCJSONErrorCode

	// messaging, generative AI, Azure
	attrMessagingSystem
	attrMessagingDestinationName
	attrMessagingDestination
	attrMessageBusDestination
	attrKafkaQueueTime
	attrEnqueuedTime
	attrGenAIProviderName
	attrGenAISystem
	attrAzureResourceProvider
	attrAzNamespace

	// users, sessions, devices
	attrEnduserID
	attrEnduserPseudoID
	attrSessionID
	attrMicrosoftSessionID
	attrAIUserAccountID
	attrAIDeviceID
	attrAIDeviceModel
	attrAIDeviceType
	attrAIDeviceOSVersion

	// exceptions
	attrExceptionType
	attrExceptionMessage
	attrExceptionStacktrace

	// what an application says to Application Insights directly
	attrMicrosoftClientIP
	attrMicrosoftOperationName
	attrAIOperationName
	attrMicrosoftDependencyData
	attrMicrosoftDependencyName
	attrMicrosoftDependencyTarget
	attrMicrosoftDependencyType
	attrMicrosoftDependencyResultCode
	attrMicrosoftRequestName
	attrMicrosoftRequestURL
	attrMicrosoftRequestSource
	attrMicrosoftRequestResultCode
	attrMicrosoftSampleRate
	attrMSSampleRate
	attrCustomMeasurements
	attrCustomEventName
	attrAvailabilityID
	attrAvailabilityName
	attrAvailabilityDuration
	attrAvailabilitySuccess
	attrAvailabilityRunLocation
	attrAvailabilityMessage
	attrMSBaseType
	attrEventMarker
	attrMSProcessed
	attrAICloudRole
	attrAICloudRoleInstance

	// set by this exporter on what it hands back for another attempt, see subset.go
	attrMarker

	// resource
	attrServiceName
	attrServiceNamespace
	attrServiceInstanceID
	attrServiceVersion
	attrK8SDeploymentName
	attrK8SReplicaSetName
	attrK8SStatefulSetName
	attrK8SJobName
	attrK8SCronJobName
	attrK8SDaemonSetName
	attrK8SPodName
	attrHostName
	attrHostID
	attrDeviceID
	attrDeviceModelName
	attrDeviceManufacturer
	attrOSName
	attrOSVersion

	attrCount
)

// disposition says whether an attribute becomes a property besides what the mapping makes of it.
type disposition uint8

const (
	// keep: always a property.
	keep disposition = iota
	// mapped: it fills a field or a tag; a property too unless properties::consumed is off.
	mapped
	// instruction: it speaks to Application Insights (or to this exporter) and is never a property.
	instruction
)

type attrInfo struct {
	name string
	disp disposition
}

// attrInfos gives each known key its name on the wire and its disposition. Where an attribute was renamed, the
// new name stands before the old one, and every rule looks them up in that order.
var attrInfos = [attrCount]attrInfo{
	attrHTTPRequestMethod:      {"http.request.method", mapped},
	attrHTTPMethod:             {"http.method", mapped},
	attrHTTPResponseStatusCode: {"http.response.status_code", mapped},
	attrHTTPStatusCode:         {"http.status_code", mapped},
	attrHTTPRoute:              {"http.route", mapped},
	attrURLFull:                {"url.full", mapped},
	attrHTTPURL:                {"http.url", mapped},
	attrURLScheme:              {"url.scheme", mapped},
	attrHTTPScheme:             {"http.scheme", mapped},
	attrURLPath:                {"url.path", mapped},
	attrURLQuery:               {"url.query", mapped},
	attrHTTPTarget:             {"http.target", mapped},
	attrHTTPHost:               {"http.host", mapped},
	attrHTTPServerName:         {"http.server_name", mapped},
	attrHTTPClientIP:           {"http.client_ip", mapped},
	attrHTTPFlavor:             {"http.flavor", mapped},
	attrHTTPStatusText:         {"http.status_text", mapped},
	attrUserAgentOriginal:      {"user_agent.original", mapped},
	attrHTTPUserAgent:          {"http.user_agent", mapped},
	attrUserAgentSyntheticType: {"user_agent.synthetic.type", mapped},

	attrServerAddress:          {"server.address", mapped},
	attrServerPort:             {"server.port", mapped},
	attrClientAddress:          {"client.address", mapped},
	attrClientPort:             {"client.port", mapped},
	attrNetworkPeerAddress:     {"network.peer.address", mapped},
	attrNetworkPeerPort:        {"network.peer.port", mapped},
	attrNetworkLocalAddress:    {"network.local.address", mapped},
	attrNetworkLocalPort:       {"network.local.port", mapped},
	attrNetworkProtocolName:    {"network.protocol.name", mapped},
	attrNetworkProtocolVersion: {"network.protocol.version", mapped},
	attrNetworkTransport:       {"network.transport", mapped},
	attrNetPeerName:            {"net.peer.name", mapped},
	attrNetPeerIP:              {"net.peer.ip", mapped},
	attrNetPeerPort:            {"net.peer.port", mapped},
	attrNetHostName:            {"net.host.name", mapped},
	attrNetHostIP:              {"net.host.ip", mapped},
	attrNetHostPort:            {"net.host.port", mapped},
	attrNetSockPeerName:        {"net.sock.peer.name", mapped},
	attrNetSockPeerAddr:        {"net.sock.peer.addr", mapped},
	attrNetTransport:           {"net.transport", mapped},
	attrPeerService:            {"peer.service", mapped},
	attrServicePeerName:        {"service.peer.name", mapped},
	attrPeerAddress:            {"peer.address", mapped},
	attrErrorType:              {"error.type", mapped},

	attrDBSystemName:         {"db.system.name", mapped},
	attrDBSystem:             {"db.system", mapped},
	attrDBQueryText:          {"db.query.text", mapped},
	attrDBStatement:          {"db.statement", mapped},
	attrDBOperationName:      {"db.operation.name", mapped},
	attrDBOperation:          {"db.operation", mapped},
	attrDBNamespace:          {"db.namespace", mapped},
	attrDBName:               {"db.name", mapped},
	attrDBResponseStatusCode: {"db.response.status_code", mapped},

	attrRPCSystemName:         {"rpc.system.name", mapped},
	attrRPCSystem:             {"rpc.system", mapped},
	attrRPCResponseStatusCode: {"rpc.response.status_code", mapped},
	attrRPCGRPCStatusCode:     {"rpc.grpc.status_code", mapped},
	attrRPCConnectErrorCode:   {"rpc.connect_rpc.error_code", mapped},
	attrRPCJSONErrorCode:      {"rpc.jsonrpc.error_code", mapped},

	attrMessagingSystem:          {"messaging.system", keep},
	attrMessagingDestinationName: {"messaging.destination.name", mapped},
	attrMessagingDestination:     {"messaging.destination", mapped},
	attrMessageBusDestination:    {"message_bus.destination", mapped},
	attrKafkaQueueTime:           {"kafka.record.queue_time_ms", keep},
	attrEnqueuedTime:             {"x-opt-enqueued-time", keep},
	attrGenAIProviderName:        {"gen_ai.provider.name", mapped},
	attrGenAISystem:              {"gen_ai.system", mapped},
	attrAzureResourceProvider:    {"azure.resource_provider.namespace", mapped},
	attrAzNamespace:              {"az.namespace", mapped},

	attrEnduserID:          {"enduser.id", mapped},
	attrEnduserPseudoID:    {"enduser.pseudo.id", mapped},
	attrSessionID:          {"session.id", mapped},
	attrMicrosoftSessionID: {"microsoft.session.id", instruction},
	attrAIUserAccountID:    {"ai.user.accountId", instruction},
	attrAIDeviceID:         {"ai.device.id", instruction},
	attrAIDeviceModel:      {"ai.device.model", instruction},
	attrAIDeviceType:       {"ai.device.type", instruction},
	attrAIDeviceOSVersion:  {"ai.device.osVersion", instruction},

	attrExceptionType:       {"exception.type", mapped},
	attrExceptionMessage:    {"exception.message", mapped},
	attrExceptionStacktrace: {"exception.stacktrace", mapped},

	attrMicrosoftClientIP:             {"microsoft.client.ip", instruction},
	attrMicrosoftOperationName:        {"microsoft.operation_name", instruction},
	attrAIOperationName:               {"ai.operation.name", instruction},
	attrMicrosoftDependencyData:       {"microsoft.dependency.data", instruction},
	attrMicrosoftDependencyName:       {"microsoft.dependency.name", instruction},
	attrMicrosoftDependencyTarget:     {"microsoft.dependency.target", instruction},
	attrMicrosoftDependencyType:       {"microsoft.dependency.type", instruction},
	attrMicrosoftDependencyResultCode: {"microsoft.dependency.resultCode", instruction},
	attrMicrosoftRequestName:          {"microsoft.request.name", instruction},
	attrMicrosoftRequestURL:           {"microsoft.request.url", instruction},
	attrMicrosoftRequestSource:        {"microsoft.request.source", instruction},
	attrMicrosoftRequestResultCode:    {"microsoft.request.resultCode", instruction},
	attrMicrosoftSampleRate:           {"microsoft.sample_rate", instruction},
	attrMSSampleRate:                  {"_MS.sampleRate", instruction},
	attrCustomMeasurements:            {"microsoft.custom_measurements", instruction},
	attrCustomEventName:               {"microsoft.custom_event.name", instruction},
	attrAvailabilityID:                {"microsoft.availability.id", instruction},
	attrAvailabilityName:              {"microsoft.availability.name", instruction},
	attrAvailabilityDuration:          {"microsoft.availability.duration", instruction},
	attrAvailabilitySuccess:           {"microsoft.availability.success", instruction},
	attrAvailabilityRunLocation:       {"microsoft.availability.runLocation", instruction},
	attrAvailabilityMessage:           {"microsoft.availability.message", instruction},
	attrMSBaseType:                    {"_MS.baseType", instruction},
	attrEventMarker:                   {"APPLICATION_INSIGHTS_EVENT_MARKER_ATTRIBUTE", instruction},
	attrMSProcessed:                   {"_MS.ProcessedByMetricExtractors", keep},
	attrAICloudRole:                   {"ai.cloud.role", keep},
	attrAICloudRoleInstance:           {"ai.cloud.roleInstance", keep},

	attrMarker: {"otelcol.applicationinsights.accepted", instruction},

	attrServiceName:        {"service.name", keep},
	attrServiceNamespace:   {"service.namespace", keep},
	attrServiceInstanceID:  {"service.instance.id", keep},
	attrServiceVersion:     {"service.version", keep},
	attrK8SDeploymentName:  {"k8s.deployment.name", keep},
	attrK8SReplicaSetName:  {"k8s.replicaset.name", keep},
	attrK8SStatefulSetName: {"k8s.statefulset.name", keep},
	attrK8SJobName:         {"k8s.job.name", keep},
	attrK8SCronJobName:     {"k8s.cronjob.name", keep},
	attrK8SDaemonSetName:   {"k8s.daemonset.name", keep},
	attrK8SPodName:         {"k8s.pod.name", keep},
	attrHostName:           {"host.name", keep},
	attrHostID:             {"host.id", keep},
	attrDeviceID:           {"device.id", keep},
	attrDeviceModelName:    {"device.model.name", keep},
	attrDeviceManufacturer: {"device.manufacturer", keep},
	attrOSName:             {"os.name", keep},
	attrOSVersion:          {"os.version", keep},
}

// keyHash tells keys apart cheaply rather than well: length and three characters.
func keyHash(key string) uint {
	n := uint(len(key))
	if n == 0 {
		return 0
	}
	return n*37 + uint(key[0])*3 + uint(key[n/2])*11 + uint(key[n-1])*23
}

const attrBuckets = 512

// attrIndex and attrNext are a hash table from key to attr with chained buckets, filled once. Looking a key up
// costs one hash and, for most keys, no or one comparison.
var attrIndex, attrNext = indexAttrs()

func indexAttrs() (index [attrBuckets]attr, next [attrCount]attr) {
	for a := attrNone + 1; a < attrCount; a++ {
		h := keyHash(attrInfos[a].name) % attrBuckets
		next[a] = index[h]
		index[h] = a
	}
	return index, next
}

// lookupAttr returns attrNone for a key the mapping does not know. h is the key's keyHash.
func lookupAttr(key string, h uint) attr {
	a := attrIndex[h%attrBuckets]
	for a != attrNone && attrInfos[a].name != key {
		a = attrNext[a]
	}
	return a
}

// keyFilter is a set of keys that may claim to hold a key that it does not, and never the other way round.
type keyFilter [4]uint64

func (f *keyFilter) add(h uint)      { f[h>>6&3] |= 1 << (h & 63) }
func (f *keyFilter) has(h uint) bool { return f[h>>6&3]&(1<<(h&63)) != 0 }

// found holds the known attributes of one span, event, log record or resource. A zero found is empty; clear
// makes it so again without touching the values.
type found struct {
	set  [(attrCount + 63) / 64]uint64
	vals [attrCount]pcommon.Value
}

func (f *found) clear() { clear(f.set[:]) }

func (f *found) put(a attr, v pcommon.Value) {
	f.set[a>>6] |= 1 << (a & 63)
	f.vals[a] = v
}

func (f *found) has(a attr) bool { return f.set[a>>6]&(1<<(a&63)) != 0 }

// collect adds the known attributes of m. Of a key that stands in m twice the first counts.
func (f *found) collect(m pcommon.Map) {
	for k, v := range m.All() {
		if a := lookupAttr(k, keyHash(k)); a != attrNone && !f.has(a) {
			f.put(a, v)
		}
	}
}

// first returns the first of the attributes that is there and not empty.
func (f *found) first(attrs ...attr) (pcommon.Value, bool) {
	for _, a := range attrs {
		if f.has(a) && !isEmptyValue(f.vals[a]) {
			return f.vals[a], true
		}
	}
	return pcommon.Value{}, false
}

// any tells whether one of the attributes is there and not empty.
func (f *found) any(attrs ...attr) bool {
	_, ok := f.first(attrs...)
	return ok
}

// str is first for attributes that are strings; other types are turned into text, which allocates.
func (f *found) str(attrs ...attr) string {
	v, ok := f.first(attrs...)
	if !ok {
		return ""
	}
	if v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return v.AsString()
}

// int is first for attributes that are numbers, and zero where there is none or it is no number.
func (f *found) int(attrs ...attr) int64 {
	v, ok := f.first(attrs...)
	if !ok {
		return 0
	}
	return intOf(v)
}

// intOf reads an int, a whole double or a string of digits, and gives zero for the rest.
func intOf(v pcommon.Value) int64 {
	switch v.Type() {
	case pcommon.ValueTypeInt:
		return v.Int()
	case pcommon.ValueTypeDouble:
		if d := v.Double(); d == float64(int64(d)) {
			return int64(d)
		}
	case pcommon.ValueTypeStr:
		if n, err := strconv.ParseInt(v.Str(), 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// isEmptyValue tells which values count as missing: the same that are false in JavaScript, on which Microsoft's
// reference exporter rests, save for NaN.
func isEmptyValue(v pcommon.Value) bool {
	switch v.Type() {
	case pcommon.ValueTypeEmpty:
		return true
	case pcommon.ValueTypeStr:
		return v.Str() == ""
	case pcommon.ValueTypeInt:
		return v.Int() == 0
	case pcommon.ValueTypeDouble:
		return v.Double() == 0
	case pcommon.ValueTypeBool:
		return !v.Bool()
	default:
		return false
	}
}
