// A storm on a sale that sells out in its first moments: everybody clicks on.
//
// Open model: clicks arrive at RATE, whether or not earlier ones were answered. Exactly ITEMS of them get an order;
// all others get a plain "out of stock", soon, and nothing is charged. In the midst of it those who have an order
// ask again with their keys: a winner's retry gets its first answer, never "sold out".

import { check } from 'k6';
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import * as load from './load.js';
import { latency, summaryOf } from './summary.js';

const RATE = flashdeal.countFromEnv('RATE', 60);
const SECONDS = flashdeal.secondsFromEnv('DURATION', '10s');
const ITEMS = flashdeal.countFromEnv('ITEMS', 40);
const BUYERS = flashdeal.countFromEnv('BUYERS', 200);
const P99_MS = flashdeal.countFromEnv('P99_MS', 2000);
const WINNERS = Math.ceil(ITEMS / 2); // have their order before the storm begins
const RETRY_RATE = Math.max(1, Math.floor(RATE / 10));
if (ITEMS >= (RATE * SECONDS) / 2)
  throw new Error(`ITEMS=${ITEMS} is not below half of RATE × DURATION: it would be no storm`);

const soldOutDuration = new Trend('sold_out_duration', true);

export const options = flashdeal.optionsWith({
  scenarios: {
    storm: load.arrivals({ exec: 'storm', rate: RATE, seconds: SECONDS }),
    winners: load.arrivals({ exec: 'winners', rate: RETRY_RATE, seconds: SECONDS }),
  },
  thresholds: Object.assign({}, load.NONE_DROPPED, books.ALL_ACCOUNTED, {
    orders_created: [`count==${ITEMS}`],
    orders_out_of_stock: [`count>=${Math.floor((RATE * SECONDS) / 2)}`],
    orders_replayed: ['count>0'],
    sold_out_duration: [`p(99)<${P99_MS}`],
  }),
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: BUYERS,
    stock: ITEMS,
    unit_price: '0.01',
    balance: '100.00',
    seconds: SECONDS,
    name: 'k6 sold-out storm',
  });
  if (data.sale.stock !== ITEMS)
    throw new Error(
      `The sale has ${data.sale.stock} items left, ITEMS is ${ITEMS}: seed a fresh sale or set ITEMS.`,
    );
  data.opened = books.begin(data.sale);
  data.won = Array.from({ length: WINNERS }, (_, nth) => win(data, nth));
  return data;
}

function win(data, nth) {
  const buyer = flashdeal.buyerAt(data, nth % BUYERS);
  const key = flashdeal.uuid();
  const row = flashdeal.orderRow(buyer, data.sale.id, key);
  const answer = flashdeal.settle(row, flashdeal.sendOrder(row));
  flashdeal.mustBe(201, answer || { status: 0, error: 'no definite answer' }, 'the first orders');
  books.made();
  return { buyer, key, body: answer.body };
}

export function storm(data) {
  const buyer = flashdeal.buyerAt(data, exec.scenario.iterationInTest % BUYERS);
  const row = flashdeal.orderRow(buyer, data.sale.id, flashdeal.uuid());
  const answer = flashdeal.settle(row, flashdeal.sendOrder(row));
  if (answer && answer.status === 201) {
    books.made();
    check(flashdeal.json(answer), {
      "the order is the buyer's own": (order) =>
        order.user_id === buyer && order.sale_id === data.sale.id,
    });
  } else if (answer && flashdeal.isRefusal(answer, 'out_of_stock')) {
    flashdeal.ordersSoldOut.add(1);
    soldOutDuration.add(answer.timings.duration);
    check(answer, {
      'the refusal says that nothing is left': (r) => flashdeal.json(r).stock === 0,
    });
  } else {
    flashdeal.unexpected('order', answer);
  }
}

export function winners(data) {
  const { buyer, key, body } = data.won[exec.scenario.iterationInTest % WINNERS];
  const row = flashdeal.orderRow(buyer, data.sale.id, key);
  const answer = flashdeal.settle(row, flashdeal.sendOrder(row));
  const same = answer !== null && answer.status === 201 && answer.body === body;
  check(answer, {
    "a winner's retry is its first answer, never sold out": () =>
      same && flashdeal.isReplay(answer),
  });
  if (same) flashdeal.ordersReplayed.add(1);
  else flashdeal.unexpected("a winner's retry", answer);
}

export function teardown(data) {
  const sold = books.close(data.opened);
  const sale = flashdeal.readSale(data.sale.id);
  check(sale, {
    'as many orders are found as there were items': () => sold === ITEMS,
    'the sale is sold out and says since when': () =>
      sale.status === 'sold_out' && sale.stock === 0 && sale.sold_out_at !== undefined,
  });
  books.audit();
}

export const handleSummary = summaryOf(
  `sold-out storm, ${RATE} clicks/s for ${SECONDS} s on ${ITEMS} items`,
  (metrics) => latency('"out of stock"', metrics.sold_out_duration),
);
