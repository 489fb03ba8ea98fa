# SPDX-License-Identifier: Apache-2.0
"""The shop's front end: GET /order?order_id=17&item=tea asks the back end for the price.

It knows OpenTelemetry's API and nothing of an SDK, an exporter or an address: those
come from opentelemetry-instrument and OTEL_ variables.
"""

import logging
import os
import signal
import sys

import requests
from flask import Flask, request
from opentelemetry import metrics, trace

app = Flask(__name__)
log = logging.getLogger("shop")
orders = metrics.get_meter("shop").create_counter("shop.orders", unit="{order}", description="Orders by item.")


class NoSuchItem(Exception):
    """The back end does not have the item."""


def ask_for_price(item):
    answer = requests.get(os.environ["DATA_URL"], params={"item": item}, timeout=10)
    if answer.status_code == 404:
        raise NoSuchItem(item)
    answer.raise_for_status()
    return answer.json()["price"]


@app.get("/order")
def order():
    item = request.args["item"]
    span = trace.get_current_span()
    span.set_attribute("order_id", request.args["order_id"])
    orders.add(1, {"item": item})
    try:
        price = ask_for_price(item)
    except NoSuchItem as error:
        span.record_exception(error)
        span.set_status(trace.StatusCode.ERROR, str(error))
        log.error("no %s for order %s", item, request.args["order_id"])
        return {"error": "no such item"}, 500
    log.warning("order %s: %s", request.args["order_id"], item)
    return {"order_id": request.args["order_id"], "item": item, "price": price}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # an orderly end, in which the SDK sends what it holds
    app.run(host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8080")))
