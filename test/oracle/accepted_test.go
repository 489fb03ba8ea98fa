// SPDX-License-Identifier: Apache-2.0

//go:build oracle

package oracle

import (
	"os"
	"slices"
	"strings"
)

// ownHost is the reason for what differs from machine to machine.
const ownHost = "own-host"

// acceptance is a difference that we want. Its reason is in docs/applicationinsights-mapping.md under its id.
type acceptance struct {
	id      string
	applies func(d *difference) bool
	seen    int
}

// has tells whether the span has one of the attributes.
func (d *difference) has(keys ...string) bool {
	for _, k := range keys {
		if v, ok := d.span.Attributes[k]; ok && v != nil {
			return true
		}
	}
	return false
}

func (d *difference) is(fields ...string) bool { return slices.Contains(fields, d.field) }

// property returns the key of the property that differs.
func (d *difference) property() (key string, ok bool) {
	return strings.CutPrefix(d.field, "properties.")
}

// mappedAttributes are attributes that we leave out of the properties, where told to, because they fill a field,
// or that speak to Application Insights, and that Microsoft's exporters copy.
var mappedAttributes = []string{
	"ai.device.id", "ai.device.model", "ai.device.osVersion", "ai.device.type", "ai.operation.name", "ai.user.accountId",
	"az.namespace", "azure.resource_provider.namespace", "db.namespace", "db.operation.name", "db.query.text",
	"db.response.status_code", "db.system.name", "gen_ai.provider.name", "gen_ai.system", "http.server_name",
	"message_bus.destination", "messaging.destination", "messaging.destination.name", "microsoft.client.ip",
	"microsoft.dependency.data", "microsoft.dependency.name", "microsoft.dependency.resultCode", "microsoft.dependency.target",
	"microsoft.dependency.type", "microsoft.operation_name", "microsoft.request.name", "microsoft.request.resultCode",
	"microsoft.request.source", "microsoft.request.url", "microsoft.sample_rate", "microsoft.session.id", "net.sock.peer.addr",
	"net.sock.peer.name",
	"peer.address", "rpc.connect_rpc.error_code", "rpc.jsonrpc.error_code", "rpc.response.status_code", "rpc.system.name",
	"service.peer.name", "session.id",
}

// accepted is tried from the top; the first that applies takes the difference.
var accepted = []acceptance{
	{id: ownHost, applies: func(d *difference) bool {
		// Theirs runs in the application, and names the machine that it runs on.
		host, err := os.Hostname()
		return err == nil && d.theirs == host && d.is("tags.ai.cloud.roleInstance", "tags.ai.device.id") ||
			d.exporter == "python" && d.ours == "" && d.is("tags.ai.device.locale", "tags.ai.device.type")
	}},
	{id: "instance", applies: func(d *difference) bool {
		return d.is("tags.ai.cloud.roleInstance") && d.theirs == d.span.Resource["k8s.pod.name"]
	}},
	{id: "role", applies: func(d *difference) bool {
		return d.is("tags.ai.cloud.role", "tags.ai.cloud.roleInstance") &&
			(d.span.Resource["ai.cloud.role"] != nil || strings.Contains(d.ours, "unknown_service"))
	}},
	{id: "device", applies: func(d *difference) bool {
		return strings.HasPrefix(d.field, "tags.ai.device.") && d.ours != ""
	}},
	{id: "overrides", applies: func(d *difference) bool {
		for k := range d.span.Attributes {
			if (strings.HasPrefix(k, "microsoft.request.") || strings.HasPrefix(k, "microsoft.dependency.")) &&
				d.is("name", "url", "source", "responseCode", "data", "target", "type", "resultCode") {
				return strings.HasPrefix(d.ours, "my ") || strings.HasPrefix(d.ours, "https://my.")
			}
		}
		return false
	}},
	{id: "operation-name", applies: func(d *difference) bool {
		if d.has("microsoft.operation_name", "ai.operation.name") && d.is("name", "tags.ai.operation.name") {
			return d.ours == "checkout"
		}
		// Of a consumer, of an event; and none of a dependency.
		return d.is("tags.ai.operation.name") && (d.theirs == "" && (d.span.Kind == 4 || len(d.span.Events) > 0) ||
			d.exporter == "python" && d.ours == "" && d.span.Kind != 1 && d.span.Kind != 4 ||
			d.exporter == "python" && len(d.span.Events) > 0) ||
			d.is("name") && d.span.Kind == 4 && d.theirs == ""
	}},
	{id: "empty-name", applies: func(d *difference) bool {
		return d.ours == "unnamed" || d.is("(the item)") && (d.span.Name == "" || len(d.span.Events) == 1 && d.span.Events[0].Name == "")
	}},
	{id: "empty-attributes", applies: func(d *difference) bool {
		return d.exporter == "python" && d.is("name", "tags.ai.operation.name", "url") && d.span.Attributes["url.full"] == ""
	}},
	{id: "internal-http", applies: func(d *difference) bool {
		return d.exporter == "python" && d.span.Kind == 0 && d.has("http.request.method", "http.method") &&
			d.is("name", "type", "data", "resultCode", "target")
	}},
	{id: "request-name", applies: func(d *difference) bool {
		return d.is("name", "tags.ai.operation.name") && d.span.Kind == 1 && !d.has("http.route")
	}},
	{id: "dependency-name", applies: func(d *difference) bool {
		return d.exporter == "python" && d.is("name") && d.span.Kind == 2 && !d.has("url.full", "http.url")
	}},
	{id: "http-type", applies: func(d *difference) bool {
		return d.exporter == "python" && d.is("type") && d.ours == "Http" && d.theirs == "HTTP"
	}},
	{id: "in-proc", applies: func(d *difference) bool {
		return d.is("type") && strings.HasPrefix(d.ours, "InProc") && d.span.Kind == 0 && !strings.HasPrefix(d.theirs, "InProc")
	}},
	{id: "azure-clients", applies: func(d *difference) bool {
		return d.has("az.namespace", "azure.resource_provider.namespace") &&
			d.is("type", "target", "source", "data", "resultCode", "name", "url")
	}},
	{id: "since-enqueued", applies: func(d *difference) bool {
		return d.is("measurements.timeSinceEnqueued") && (d.ours != "" || d.theirs == "0.00")
	}},
	{id: "messaging", applies: func(d *difference) bool {
		return d.has("messaging.system") && d.is("type", "target", "source")
	}},
	{id: "generative-ai", applies: func(d *difference) bool {
		return d.has("gen_ai.provider.name", "gen_ai.system") && d.is("type", "target")
	}},
	{id: "newer-conventions", applies: func(d *difference) bool {
		return d.has("db.system.name", "rpc.system.name") &&
			d.is("type", "target", "data", "resultCode", "responseCode")
	}},
	{id: "rpc", applies: func(d *difference) bool {
		return d.has("rpc.system", "rpc.system.name") && d.is("type", "resultCode", "responseCode", "target")
	}},
	{id: "code-without-method", applies: func(d *difference) bool {
		return d.is("responseCode", "success") && d.span.Kind == 1 && !d.has("http.request.method", "http.method") &&
			d.has("http.response.status_code", "http.status_code")
	}},
	{id: "success-without-code", applies: func(d *difference) bool {
		return d.exporter == "python" && d.is("success") && d.ours == "true" && d.has("http.request.method", "http.method") &&
			!d.has("http.response.status_code", "http.status_code")
	}},
	{id: "target", applies: func(d *difference) bool {
		if !d.is("target") || d.ours == "" || d.span.Kind != 2 {
			return false
		}
		host, _, _ := strings.Cut(strings.TrimSuffix(d.ours, "|shop"), ":")
		return d.theirs == "" || d.theirs == d.span.Attributes["db.system"] || strings.Contains(d.theirs, host) ||
			d.has("service.peer.name", "peer.service")
	}},
	{id: "internal-target", applies: func(d *difference) bool {
		return d.exporter == "python" && d.is("target") && d.ours == "" && d.span.Kind == 0
	}},
	{id: "no-convention", applies: func(d *difference) bool {
		return d.exporter == "python" && d.is("type") && d.ours == "Dependency" && d.theirs == "N/A"
	}},
	{id: "url", applies: func(d *difference) bool {
		return d.is("url", "data") && !d.has("url.full", "http.url") && d.has("url.scheme", "http.scheme")
	}},
	{id: "exception-defaults", applies: func(d *difference) bool {
		return strings.HasPrefix(d.field, "exceptions.") && strings.Contains(d.span.Case, "without")
	}},
	{id: "sampling-rate", applies: func(d *difference) bool {
		return d.is("sampleRate") || d.is("(the item)") && d.has("microsoft.sample_rate", "_MS.sampleRate")
	}},
	{id: "client-address", applies: func(d *difference) bool {
		return d.is("tags.ai.location.ip") && (d.ours == "203.0.113.7" || d.exporter == "python" && d.ours == "" && d.span.Kind == 4)
	}},
	{id: "users", applies: func(d *difference) bool {
		return d.is("tags.ai.session.id", "tags.ai.user.accountId", "tags.ai.user.userAgent", "tags.ai.user.authUserId") && d.theirs == "" ||
			d.is("tags.ai.session.id") && d.ours == d.span.Attributes["microsoft.session.id"]
	}},
	{id: "mapped-properties", applies: func(d *difference) bool {
		key, ok := d.property()
		return ok && d.ours == "" && slices.Contains(mappedAttributes, key)
	}},
	{id: "reserved-properties", applies: func(d *difference) bool {
		key, ok := d.property()
		return ok && d.ours == "" && strings.HasPrefix(key, "_MS.")
	}},
	{id: "kept-properties", applies: func(d *difference) bool {
		key, ok := d.property()
		return ok && d.theirs == "" && slices.Contains([]string{
			"messaging.system", "messaging.operation", "kafka.record.queue_time_ms", "code.function", "code.line.number",
			"http.request.header.x", "http.request.header.accept", "rpc.method", "rpc.service", "thread.name",
			"microsoft.other", "exception.escaped", "otel.status_description", "error.type",
		}, key)
	}},
	{id: "values-as-text", applies: func(d *difference) bool {
		_, ok := d.property()
		return ok && d.exporter == "python" && d.ours != "" && d.theirs != ""
	}},
	{id: "tags-that-are-not-text", applies: func(d *difference) bool {
		return d.exporter == "python" && d.is("(the item)") && d.span.Resource["service.name"] == 42
	}},
}
