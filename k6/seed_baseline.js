// The seeds' run, repeated: 10 callers who rest 0.1 s between orders. And two of our own, which are in no seed: 150
// callers who do not rest, and 150 who do.
//
// A closed loop, since the seeds' was one: a slow answer slows its caller down, so the numbers say how the service
// answers that many callers, not how much it could take (`cargo bench`). No speed is demanded; what fails the run is a
// rate that is not made of orders: every 201 must be found as an order, and the books must balance.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import { latency, summaryOf } from './summary.js';

const SECONDS = flashdeal.secondsFromEnv('DURATION', '5s');
const USERS = flashdeal.countFromEnv('USERS', 300);
const GAP_SECONDS = 3; // the last answers of one run are in before the next begins

/** The seeds' figures are requests per second of their k6. */
const RUNS = [
  { run: 'callers_10_pause', callers: 10, pause: 0.1, seed: '91.3' },
  { run: 'callers_150', callers: 150, pause: 0, seed: '*' },
  { run: 'callers_150_pause', callers: 150, pause: 0.1, seed: '*' },
];

RUNS.forEach((each) => {
  each.inTime = new Counter(`orders_${each.run}`);
  each.duration = new Trend(`order_duration_${each.run}`, true);
});

export const options = flashdeal.optionsWith({
  scenarios: Object.assign(
    {},
    ...RUNS.map(({ run, callers }, nth) => ({
      [run]: {
        executor: 'constant-vus',
        vus: callers,
        duration: `${SECONDS}s`,
        startTime: `${nth * (SECONDS + GAP_SECONDS)}s`,
        gracefulStop: '60s',
      },
    })),
  ),
  thresholds: Object.assign(
    {},
    books.ALL_ACCOUNTED,
    ...RUNS.map(({ run }) => ({ [`orders_${run}`]: ['count>0'] })),
  ),
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: USERS,
    stock: 10000000,
    unit_price: '0.01',
    balance: '100000.00',
    seconds: RUNS.length * (SECONDS + GAP_SECONDS),
    name: 'k6 seed baseline',
  });
  return Object.assign(data, { opened: books.begin(data.sale) });
}

export default function (data) {
  const { pause, inTime, duration } = RUNS.find(({ run }) => run === exec.scenario.name);
  const buyer = flashdeal.buyerAt(data, Math.floor(Math.random() * USERS));
  const row = flashdeal.orderRow(buyer, data.sale.id, flashdeal.uuid());
  const first = flashdeal.sendOrder(row);
  duration.add(first.timings.duration);
  const answer = flashdeal.settle(row, first);
  if (answer && answer.status === 201) {
    books.made();
    // What ends after the run's time is an order, but not of this rate.
    if (Date.now() - exec.scenario.startTime <= SECONDS * 1000) inTime.add(1);
    check(answer, {
      "the order is the buyer's own": (r) => flashdeal.json(r).user_id === buyer,
    });
  } else {
    flashdeal.unexpected('order', answer);
  }
  if (pause > 0) sleep(pause);
}

export function teardown(data) {
  books.close(data.opened);
  books.audit();
}

const title = ({ callers, pause }) =>
  `${callers} callers, ${pause > 0 ? `pause ${pause} s` : 'no pause'}`;

export const handleSummary = summaryOf(`seed baseline, ${SECONDS} s a run`, (metrics) => [
  '',
  `    ${''.padEnd(26)} ${'seed, req/s'.padStart(12)} ${'here, orders/s'.padStart(15)} ${'average'.padStart(11)}`,
  ...RUNS.map((each) => {
    const count = metrics[`orders_${each.run}`].values.count || 0;
    const average = metrics[`order_duration_${each.run}`].values.avg || 0;
    return `    ${title(each).padEnd(26)} ${each.seed.padStart(12)} ${(count / SECONDS).toFixed(1).padStart(15)} ${`${average.toFixed(1)} ms`.padStart(11)}`;
  }),
  '    * told with the seeds, in none of their documents: 163, 352.2, 297.5 req/s; which is which is not known',
  '    the seed at 91.3: average 8.4 ms, p95 13.36 ms, max 124 ms; another machine, another engine',
  '',
  ...RUNS.flatMap((each) => latency(title(each), metrics[`order_duration_${each.run}`])),
]);
