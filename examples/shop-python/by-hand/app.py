# SPDX-License-Identifier: Apache-2.0
"""The front end again, with the SDK set up by hand and spans of its own.

The way many services began: the name of the file as service.name, in the code, where
no variable can change it. The collector's cloudrole maps it.
"""

import os
import signal
import sys

import requests
from flask import Flask, request
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": os.path.basename(sys.argv[0])}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # where to: OTEL_EXPORTER_OTLP_ENDPOINT
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")

app = Flask(__name__)


@app.get("/order")
def order():
    item = request.args["item"]
    attributes = {
        "http.method": "GET",
        "http.scheme": "http",
        "http.host": request.host,
        "http.target": request.full_path,
        "order_id": request.args["order_id"],
    }
    context = propagate.extract(request.headers)
    with tracer.start_as_current_span("order", context, trace.SpanKind.SERVER, attributes) as span:
        span.add_event("order accepted", {"item": item})
        try:
            price = ask_for_price(item)
        except requests.HTTPError:
            span.set_attribute("http.status_code", 500)
            span.set_status(trace.StatusCode.ERROR)
            return {"error": "no such item"}, 500
        span.add_event("price known", {"price": price})
        span.set_attribute("http.status_code", 200)
        return {"order_id": request.args["order_id"], "item": item, "price": price}


def ask_for_price(item):
    url = os.environ["DATA_URL"] + "?item=" + item
    attributes = {"http.method": "GET", "http.url": url}
    with tracer.start_as_current_span("ask for price", kind=trace.SpanKind.CLIENT, attributes=attributes) as span:
        headers = {}
        propagate.inject(headers)
        answer = requests.get(url, headers=headers, timeout=10)
        span.set_attribute("http.status_code", answer.status_code)
        answer.raise_for_status()  # the span records what is raised through it
        return answer.json()["price"]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # an orderly end, in which the SDK sends what it holds
    app.run(host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8080")))
