# SPDX-License-Identifier: Apache-2.0

"""Reads spans as JSON from standard input and sends them with Microsoft's exporter for Python."""

import json
import sys

from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

KINDS = [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER]


def context(trace_id, span_id, remote=False):
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(1))


def readable(s):
    return ReadableSpan(
        name=s["name"],
        context=context(s["traceId"], s["spanId"]),
        parent=context(s["traceId"], s["parentSpanId"]) if s["parentSpanId"] else None,
        kind=KINDS[s["kind"]],
        status=Status(StatusCode(s["status"]["code"]), s["status"].get("message") or None),
        start_time=int(s["start"]),
        end_time=int(s["end"]),
        attributes=s["attributes"],
        events=[Event(e["name"], e["attributes"], int(e["time"])) for e in s["events"]],
        links=[Link(context(l["traceId"], l["spanId"]), l["attributes"]) for l in s["links"]],
        # Not Resource.create, which adds attributes of its own.
        resource=Resource(s["resource"]),
    )


def main():
    data = json.load(sys.stdin)
    exporter = AzureMonitorTraceExporter(connection_string=data["connectionString"], disable_offline_storage=True)
    for span in data["spans"]:
        if exporter.export([readable(span)]) != SpanExportResult.SUCCESS:
            sys.exit(f"refused: {span['name']} {span['attributes']}")
    exporter.shutdown()


main()
