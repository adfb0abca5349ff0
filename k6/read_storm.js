// Everybody watches the sale while some order: the readers are answered, and the orders are not starved.
//
// Open model, two phases with the same rate of orders: without readers, then with READ_RATE reads a second of the
// sale and of the list of live sales. Every order is made by its first attempt in both, in bounded time; one watcher
// compares the medians of the two phases, and the screen shows them beside each other. What is read must be
// plausible, and not older than STALE_SECONDS: what was ordered is gone from the stock that is read.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import * as load from './load.js';
import { latency, summaryOf } from './summary.js';

const READ_RATE = flashdeal.countFromEnv('READ_RATE', 200);
const RATE = flashdeal.countFromEnv('RATE', 10);
const QUIET = flashdeal.secondsFromEnv('QUIET', '4s');
const SECONDS = flashdeal.secondsFromEnv('DURATION', '8s');
const BUYERS = flashdeal.countFromEnv('BUYERS', 100);
const P99_MS = flashdeal.countFromEnv('P99_MS', 2000);
const READ_P99_MS = flashdeal.countFromEnv('READ_P99_MS', 2000);
const SLOWED_PERCENT = flashdeal.countFromEnv('SLOWED_PERCENT', 400);
const STALE_SECONDS = 1; // the service promises 250 ms, Cache-Control of the answer allows one second

const STORM_AT = QUIET + 1;

const saleReads = new Counter('sale_reads');
const notModified = new Counter('sale_reads_not_modified');
const quietDuration = new Trend('order_quiet_duration', true);
const stormDuration = new Trend('order_storm_duration', true);
const readDuration = new Trend('sale_read_duration', true);
const ordersSlowed = new Gauge('orders_slowed_percent');
const ordersServed = new Rate('orders_served');

export const options = flashdeal.optionsWith({
  scenarios: {
    quiet: load.arrivals({ exec: 'quiet', rate: RATE, seconds: QUIET }),
    orders: load.arrivals({ exec: 'orders', rate: RATE, seconds: SECONDS, start: STORM_AT }),
    readers: load.arrivals({
      exec: 'readers',
      rate: READ_RATE,
      seconds: SECONDS,
      start: STORM_AT,
      patience: 1,
    }),
    watch: load.watcher({ exec: 'watch', seconds: STORM_AT + SECONDS }),
  },
  thresholds: Object.assign({}, load.NONE_DROPPED, books.ALL_ACCOUNTED, {
    orders_served: ['rate==1'],
    orders_slowed_percent: ['value>0', `value<${SLOWED_PERCENT}`],
    order_storm_duration: [`p(99)<${P99_MS}`],
    sale_read_duration: [`p(99)<${READ_P99_MS}`],
    sale_reads: [`count>=${Math.floor(READ_RATE * SECONDS * 0.95)}`],
  }),
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: BUYERS,
    stock: (RATE + 10) * (QUIET + SECONDS) * 2,
    unit_price: '0.01',
    balance: '1000.00',
    seconds: QUIET + SECONDS,
    name: 'k6 read storm',
  });
  return Object.assign(data, { opened: books.begin(data.sale) });
}

export const quiet = (data) => order(data, quietDuration);

export const orders = orderAndLook;

/** One caller through both phases. */
export function watch(data) {
  const began = Date.now();
  const newOrder = () =>
    flashdeal.orderRow(flashdeal.buyerAt(data, 0), data.sale.id, flashdeal.uuid());
  const before = load.medianUntil(began + QUIET * 1000, newOrder);
  sleep(STORM_AT - QUIET);
  const during = load.medianUntil(began + (STORM_AT + SECONDS) * 1000, newOrder);
  ordersSlowed.add(load.slowedPercent(before, during));
}

/** What is read a second after an order knows of it: less is left than what was read before it. */
function orderAndLook(data) {
  const before = flashdeal.json(readSale(data.sale.id));
  order(data, stormDuration);
  sleep(STALE_SECONDS);
  const after = flashdeal.json(readSale(data.sale.id));
  check(after, {
    'a read knows of every order that is a second old': () => after.stock < before.stock,
  });
}

function order(data, duration) {
  const buyer = flashdeal.buyerAt(data, exec.scenario.iterationInTest % BUYERS);
  const row = flashdeal.orderRow(buyer, data.sale.id, flashdeal.uuid());
  const first = flashdeal.sendOrder(row);
  ordersServed.add(first.status === 201);
  duration.add(first.timings.duration);
  const answer = flashdeal.settle(row, first);
  if (answer && answer.status === 201) books.made();
  else flashdeal.unexpected('order', answer);
}

const readSale = (id, headers) =>
  flashdeal.get(`/api/sales/${id}`, {
    name: 'GET /api/sales/{sale_id}',
    expect: [200, 304],
    headers,
  });

const etags = {}; // by path, of this VU's last answer; a service without ETags never answers 304

/** Four of five readers look at the sale, the fifth at the list; who has seen it asks for what is new, as a page does. */
export function readers(data) {
  const list = exec.scenario.iterationInTest % 5 === 4;
  const path = list ? '/api/sales?status=live&limit=10' : `/api/sales/${data.sale.id}`;
  const name = list ? 'GET /api/sales' : 'GET /api/sales/{sale_id}';
  const headers = etags[path] ? { 'If-None-Match': etags[path] } : {};
  const answer = flashdeal.get(path, { name, expect: [200, 304], headers });
  saleReads.add(1);
  readDuration.add(answer.timings.duration);
  if (answer.status === 304) {
    notModified.add(1);
    check(answer, { 'a 304 answers only an ETag': () => 'If-None-Match' in headers });
    return;
  }
  etags[path] = flashdeal.header(answer, 'ETag');
  const body = flashdeal.json(answer);
  const ok = check(answer, {
    'a read is answered 200 with the sale': () =>
      answer.status === 200 &&
      (list ? body.items.length > 0 && body.items.every(isPlausible) : isTheSale(body, data.sale)),
  });
  if (!ok) flashdeal.unexpected('read', answer);
}

const isPlausible = (sale) => sale.stock >= 0 && sale.stock <= sale.stock_initial;

const isTheSale = (sale, { id, unit_price, stock }) =>
  sale.id === id && sale.unit_price === unit_price && isPlausible(sale) && sale.stock <= stock;

export function teardown(data) {
  books.close(data.opened);
  books.audit();
}

export const handleSummary = summaryOf(
  `read storm, ${READ_RATE} reads/s and ${RATE} orders/s for ${SECONDS} s`,
  (metrics) => [
    ...latency('orders, no readers', metrics.order_quiet_duration),
    ...latency('orders in the storm', metrics.order_storm_duration),
    ...latency('reads', metrics.sale_read_duration),
    `    ${'not modified (304)'.padEnd(22)} ${String(metrics.sale_reads_not_modified ? metrics.sale_reads_not_modified.values.count : 0).padStart(9)}`,
  ],
);
