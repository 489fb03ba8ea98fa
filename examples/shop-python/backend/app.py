# SPDX-License-Identifier: Apache-2.0
"""The shop's back end: GET /data?item=tea says what an item costs.

With STOCK_URL set it asks there first, so that several of these make a chain.
"""

import logging
import os
import signal
import sys

import requests
from flask import Flask, request

app = Flask(__name__)
log = logging.getLogger("shop")
prices = {"tea": 3, "coffee": 4}


@app.get("/data")
def data():
    item = request.args["item"]
    if item not in prices:
        return {"error": "no such item"}, 404
    if "STOCK_URL" in os.environ:
        requests.get(os.environ["STOCK_URL"], params={"item": item}, timeout=10).raise_for_status()
    log.warning("price of %s", item)
    return {"item": item, "price": prices[item]}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # an orderly end, in which the SDK sends what it holds
    app.run(host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8081")))
