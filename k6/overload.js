// More orders than can be decided: the surplus is turned away at once and in words, those who are let in are served
// in bounded time, and when the wave is over everything is as before.
//
// Open model: waves of BURST orders at the same instant, so many a second that RATE orders arrive. Waves overfill a
// small queue however fast the engine is. Three phases: calm, overload (up in RAMP, then held), recovery, which
// begins RECOVERY after the last wave. Who is turned away gives up: that "this attempt executed nothing and never
// will" is proved by counting orders at the end. A run in which nobody was turned away fails: it was no overload.

import http from 'k6/http';
import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import * as load from './load.js';
import { latency, summaryOf } from './summary.js';

const RATE = flashdeal.countFromEnv('RATE', 200);
const BURST = flashdeal.countFromEnv('BURST', 50);
const CALM_RATE = flashdeal.countFromEnv('CALM_RATE', 10);
const CALM = flashdeal.secondsFromEnv('CALM', '3s');
const RAMP = flashdeal.secondsFromEnv('RAMP', '2s');
const HOLD = flashdeal.secondsFromEnv('DURATION', '6s');
const RECOVERY = flashdeal.secondsFromEnv('RECOVERY', '2s');
const BUYERS = flashdeal.countFromEnv('BUYERS', 200);
const P99_MS = flashdeal.countFromEnv('P99_MS', 2000);
if (BURST > RATE)
  throw new Error(`BURST=${BURST} is above RATE=${RATE}: less than a wave a second`);

const WAVES = Math.round(RATE / BURST);
const RECOVERED_AT = CALM + RAMP + HOLD + RECOVERY;

const ordersShed = new Counter('orders_shed');
const ordersRateLimited = new Counter('orders_rate_limited');
const admittedDuration = new Trend('order_admitted_duration', true);
const shedDuration = new Trend('order_shed_duration', true);
const calmDuration = new Trend('order_calm_duration', true);
const recoveredDuration = new Trend('order_recovered_duration', true);
const calmServed = new Rate('calm_served');
const recoveredServed = new Rate('recovered_served');

export const options = flashdeal.optionsWith({
  batch: Math.max(64, BURST),
  scenarios: {
    calm: load.arrivals({ exec: 'calm', rate: CALM_RATE, seconds: CALM }),
    overload: {
      executor: 'ramping-arrival-rate',
      exec: 'wave',
      startTime: `${CALM}s`,
      startRate: 0,
      timeUnit: '1s',
      stages: [
        { target: WAVES, duration: `${RAMP}s` },
        { target: WAVES, duration: `${HOLD}s` },
      ],
      preAllocatedVUs: load.vusFor(WAVES, 10),
      gracefulStop: '60s',
    },
    recovered: load.arrivals({
      exec: 'recovered',
      rate: CALM_RATE,
      seconds: CALM,
      start: RECOVERED_AT,
    }),
  },
  thresholds: Object.assign({}, load.NONE_DROPPED, books.ALL_ACCOUNTED, {
    orders_shed: ['count>0'],
    orders_rate_limited: ['count==0'], // a limit of a caller's rate is no overload, and hides one
    order_admitted_duration: ['min>0', `p(99)<${P99_MS}`], // somebody was let in, too
    calm_served: ['rate==1'],
    recovered_served: ['rate==1'],
    order_recovered_duration: [`p(99)<${P99_MS}`],
  }),
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: BUYERS,
    stock: RATE * (CALM * 2 + RAMP + HOLD) * 2,
    unit_price: '0.01',
    balance: '10000.00',
    seconds: RECOVERED_AT + CALM,
    name: 'k6 overload',
  });
  return Object.assign(data, { opened: books.begin(data.sale) });
}

const newOrder = (data) => load.orderOfAnyone(data, BUYERS);

export const calm = (data) => quiet(data, calmServed, calmDuration);

export const recovered = (data) => quiet(data, recoveredServed, recoveredDuration);

/** Out of the overload every order is made by its first attempt. */
function quiet(data, served, duration) {
  const row = newOrder(data);
  const first = flashdeal.sendOrder(row);
  served.add(first.status === 201);
  duration.add(first.timings.duration);
  const answer = flashdeal.settle(row, first);
  if (answer && answer.status === 201) books.made();
  else flashdeal.unexpected('order out of the overload', answer);
}

export function wave(data) {
  const rows = Array.from({ length: BURST }, () => newOrder(data));
  http.batch(rows).forEach((answer, i) => judge(rows[i], flashdeal.seen(answer)));
}

function judge(row, answer) {
  const problem = flashdeal.json(answer);
  if (answer.status === 201) {
    admittedDuration.add(answer.timings.duration);
    books.made();
  } else if (problem.code === 'overloaded') {
    ordersShed.add(1);
    shedDuration.add(answer.timings.duration);
    judgeShed(answer, problem);
  } else if (answer.status === 429) {
    ordersRateLimited.add(1);
  } else if ([409, 503].includes(answer.status) && problem.retry === 'same_key') {
    check(answer, { 'a "not now" says when to ask again': hasRetryAfter });
    settleLater(row, answer);
  } else {
    flashdeal.unexpected('order in the overload', answer);
  }
}

const hasRetryAfter = (answer) =>
  /^[1-9][0-9]*$/.test(flashdeal.header(answer, 'Retry-After') || '');

function judgeShed(answer, problem) {
  check(answer, {
    'who is turned away gets 503': () => answer.status === 503,
    'who is turned away learns when to ask again': hasRetryAfter,
    'who is turned away may keep the key': () =>
      problem.retry === 'same_key' && problem.charged !== 'yes',
  });
}

/** Undecided, or decided against by a lock: only asking again tells whether there is an order. */
function settleLater(row, answer) {
  const settled = flashdeal.settle(row, answer);
  if (settled && settled.status === 201) books.made();
  else flashdeal.unexpected('order that was undecided in the overload', settled);
}

export function teardown(data) {
  books.close(data.opened);
  books.audit();
}

export const handleSummary = summaryOf(
  `overload, ${WAVES} × ${BURST} orders/s for ${HOLD} s`,
  (metrics) => [
    ...latency('before, calm', metrics.order_calm_duration),
    ...latency('overload: let in', metrics.order_admitted_duration),
    ...latency('overload: turned away', metrics.order_shed_duration),
    ...latency('after, calm', metrics.order_recovered_duration),
    ...(metrics.orders_shed.values.count > 0
      ? []
      : ['    nobody was turned away: raise RATE and BURST, or lower FLASHDEAL_MAX_QUEUE']),
    ...(metrics.orders_rate_limited && metrics.orders_rate_limited.values.count > 0
      ? ['    some came too often (429): no limit for this run, FLASHDEAL_RATE_PER_USER=0 FLASHDEAL_RATE_PER_ADDRESS=0']
      : []),
  ],
);
