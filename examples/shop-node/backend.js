// SPDX-License-Identifier: Apache-2.0

// The shop's back end: GET /data?item=tea says what an item costs. With STOCK_URL
// set it asks there first, so that several of these make a chain.
'use strict';

const express = require('express');
const log = require('pino')({ name: 'shop' });

const prices = new Map([['tea', 3], ['coffee', 4]]);
const app = express();

app.get('/data', async (request, response) => {
  const { item } = request.query;
  if (!prices.has(item)) {
    response.status(404).json({ error: 'no such item' });
    return;
  }
  if (process.env.STOCK_URL) {
    const answer = await fetch(`${process.env.STOCK_URL}?item=${encodeURIComponent(item)}`);
    if (!answer.ok) throw new Error(`the stock answers ${answer.status}`);
    await answer.arrayBuffer(); // so that the connection is free again
  }
  log.warn(`price of ${item}`);
  response.json({ item, price: prices.get(item) });
});

const server = app.listen(process.env.PORT ?? 8081, '127.0.0.1');

// The instrumentation catches the signal to send what it holds, and by that the
// process no longer ends of itself.
process.once('SIGTERM', () => server.close());
