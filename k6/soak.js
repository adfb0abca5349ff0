// A long, even load: nothing grows slower, nothing is lost, and the books balance all the while.
//
// Open model: orders at RATE for DURATION; one of ten is sent again with its key some seconds later, which must be
// a replay. Beside it one watcher orders about five times a second and compares its own latencies: the median of the
// last third of the run to the median of the first. It asks for the books after each third.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Gauge } from 'k6/metrics';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import * as load from './load.js';
import { summaryOf } from './summary.js';

const RATE = flashdeal.countFromEnv('RATE', 20);
const SECONDS = flashdeal.secondsFromEnv('DURATION', '2m');
const BUYERS = flashdeal.countFromEnv('BUYERS', 500);
const DRIFT_PERCENT = flashdeal.countFromEnv('DRIFT_PERCENT', 150);
const P99_MS = flashdeal.countFromEnv('P99_MS', 2000);
const REPLAY_AFTER_SECONDS = 2;
if (SECONDS < 9) throw new Error(`DURATION is ${SECONDS} s: a third of it must be 3 s or more`);

const latencyDrift = new Gauge('latency_drift_percent');
const medianOf = [1, 2, 3].map((third) => new Gauge(`watch_median_ms_${third}`));

export const options = flashdeal.optionsWith({
  scenarios: {
    orders: load.arrivals({ exec: 'orders', rate: RATE, seconds: SECONDS, patience: 4 }),
    watch: load.watcher({ exec: 'watch', seconds: SECONDS }),
  },
  thresholds: Object.assign({}, load.NONE_DROPPED, books.ALL_ACCOUNTED, {
    orders_replayed: ['count>0'],
    order_duration: [`p(99)<${P99_MS}`],
    latency_drift_percent: ['value>0', `value<${DRIFT_PERCENT}`],
  }),
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: BUYERS,
    stock: (RATE + 10) * SECONDS * 2,
    unit_price: '0.01',
    balance: '100000.00',
    seconds: SECONDS,
    name: 'k6 soak',
  });
  return Object.assign(data, { opened: books.begin(data.sale) });
}

const newOrder = (data) => load.orderOfAnyone(data, BUYERS);

export function orders(data) {
  const row = newOrder(data);
  const answer = flashdeal.settle(row, flashdeal.sendOrder(row));
  if (!answer || answer.status !== 201) {
    flashdeal.unexpected('order', answer);
    return;
  }
  books.made();
  if (exec.scenario.iterationInTest % 10 === 0) replay(row, answer);
}

function replay(row, first) {
  sleep(REPLAY_AFTER_SECONDS);
  const again = flashdeal.settle(row, flashdeal.sendOrder(row));
  const same = again !== null && flashdeal.isReplay(again) && again.body === first.body;
  check(again, { 'the same key later is the same answer': () => same });
  if (same) flashdeal.ordersReplayed.add(1);
}

export function watch(data) {
  const began = Date.now();
  const medians = medianOf.map((gauge, third) => {
    const until = began + ((third + 1) * SECONDS * 1000) / 3;
    const median = load.medianUntil(until, () => newOrder(data));
    gauge.add(median);
    checkBooks();
    return median;
  });
  latencyDrift.add(load.slowedPercent(medians[0], medians[2]));
}

function checkBooks() {
  if (!flashdeal.CAN_AUDIT) return;
  const report = flashdeal.json(books.askForAudit());
  check(report, { 'the books balance under load': () => report.balanced === true });
}

export function teardown(data) {
  books.close(data.opened);
  books.audit();
}

export const handleSummary = summaryOf(`soak, ${RATE} orders/s for ${SECONDS} s`, (metrics) => {
  const medians = [1, 2, 3].map((third) => metrics[`watch_median_ms_${third}`]);
  if (medians.some((each) => !each)) return [];
  const shown = medians.map((each) => each.values.value.toFixed(1)).join(', ');
  return [`    ${'median by thirds'.padEnd(22)} ${shown} ms`];
});
