// SPDX-License-Identifier: Apache-2.0

// Reads spans as JSON from standard input and sends them with Microsoft's exporter for Node.js, as its span
// processor would.

import { AzureMonitorTraceExporter } from "@azure/monitor-opentelemetry-exporter";

let input = "";
for await (const chunk of process.stdin.setEncoding("utf8")) {
  input += chunk;
}
const { connectionString, spans } = JSON.parse(input);
const exporter = new AzureMonitorTraceExporter({ connectionString, disableOfflineStorage: true });

// Nanoseconds come as text: they do not fit a number.
const hrTime = (ns) => [Number(BigInt(ns) / 1000000000n), Number(BigInt(ns) % 1000000000n)];
const context = ({ traceId, spanId }) => ({ traceId, spanId, traceFlags: 1 });

const readable = spans.map((s) => ({
  name: s.name,
  kind: s.kind,
  spanContext: () => context(s),
  parentSpanContext: s.parentSpanId ? context({ traceId: s.traceId, spanId: s.parentSpanId }) : undefined,
  startTime: hrTime(s.start),
  endTime: hrTime(s.end),
  duration: hrTime((BigInt(s.end) - BigInt(s.start)).toString()),
  status: s.status,
  attributes: s.attributes,
  links: s.links.map((l) => ({ context: context(l), attributes: l.attributes })),
  events: s.events.map((e) => ({ name: e.name, time: hrTime(e.time), attributes: e.attributes })),
  resource: { attributes: s.resource },
  instrumentationScope: { name: "oracle" },
  ended: true,
  droppedAttributesCount: 0,
  droppedEventsCount: 0,
  droppedLinksCount: 0,
}));

for (const span of readable) {
  await new Promise((resolve, reject) => {
    exporter.export([span], (result) => (result.code === 0 ? resolve() : reject(result.error ?? new Error(`code ${result.code}`))));
  });
}
await exporter.shutdown();
