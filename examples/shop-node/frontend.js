// SPDX-License-Identifier: Apache-2.0

// The shop's front end: GET /order?order_id=17&item=tea asks the back end for the
// price. It knows OpenTelemetry's API and nothing of an SDK, an exporter or an
// address: those come from NODE_OPTIONS and OTEL_ variables.
'use strict';

const express = require('express');
const log = require('pino')({ name: 'shop' });
const { metrics, trace, SpanStatusCode } = require('@opentelemetry/api');

const orders = metrics.getMeter('shop').createCounter('shop.orders', {
  unit: '{order}', description: 'Orders by item.',
});

// The back end does not have the item.
class NoSuchItem extends Error {
  name = 'NoSuchItem';
}

async function askForPrice(item) {
  const answer = await fetch(`${process.env.DATA_URL}?item=${encodeURIComponent(item)}`);
  const body = await answer.json();
  if (answer.status === 404) throw new NoSuchItem(item);
  if (!answer.ok) throw new Error(`the back end answers ${answer.status}`);
  return body.price;
}

const app = express();

app.get('/order', async (request, response) => {
  const { order_id: orderId, item } = request.query;
  const span = trace.getActiveSpan();
  span?.setAttribute('order_id', orderId);
  orders.add(1, { item });
  try {
    const price = await askForPrice(item);
    log.warn(`order ${orderId}: ${item}`);
    response.json({ order_id: orderId, item, price });
  } catch (error) {
    if (!(error instanceof NoSuchItem)) throw error;
    span?.recordException(error);
    span?.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    log.error(`no ${item} for order ${orderId}`);
    response.status(500).json({ error: 'no such item' });
  }
});

const server = app.listen(process.env.PORT ?? 8080, '127.0.0.1');

// The instrumentation catches the signal to send what it holds, and by that the
// process no longer ends of itself.
process.once('SIGTERM', () => server.close());
