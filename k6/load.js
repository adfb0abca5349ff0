// Load in the open model, and what is measured under it.

import { sleep } from 'k6';
import { buyerAt, countFromEnv, orderRow, sendOrder, settle, unexpected, uuid } from './lib.js';
import { made } from './books.js';

/**
 * A scenario of the open model: `rate` iterations a second begin, whether or not earlier ones have ended.
 * k6 drops an iteration when every VU is busy, so there are enough for answers that take `patience` seconds;
 * the threshold `NONE_DROPPED` says that the load was really there.
 */
export function arrivals({ exec, rate, seconds, start = 0, patience = 3 }) {
  return {
    executor: 'constant-arrival-rate',
    exec,
    rate,
    timeUnit: '1s',
    duration: `${seconds}s`,
    startTime: `${start}s`,
    preAllocatedVUs: vusFor(rate, patience),
    gracefulStop: '60s', // an order that is cut off would be an order of unknown outcome
  };
}

export const vusFor = (rate, patience) =>
  countFromEnv('VUS', Math.min(Math.max(10, rate * patience), 2000));

export const NONE_DROPPED = { dropped_iterations: ['count==0'] };

/** An order by one of `buyers`, whoever it is, under a key of its own. */
export const orderOfAnyone = (data, buyers) =>
  orderRow(buyerAt(data, Math.floor(Math.random() * buyers)), data.sale.id, uuid());

/**
 * The median, in milliseconds, of one caller's orders, one after the other until this time. One VU keeps its own
 * samples, so that a script can compare two times of one run: thresholds cannot.
 */
export function medianUntil(time, newOrder) {
  const durations = [];
  do {
    const row = newOrder();
    const first = sendOrder(row);
    durations.push(first.timings.duration);
    const answer = settle(row, first);
    if (answer && answer.status === 201) made();
    else unexpected("the watcher's order", answer);
    sleep(WATCH_PAUSE_SECONDS);
  } while (Date.now() < time);
  durations.sort((a, b) => a - b);
  return durations[Math.floor(durations.length / 2)];
}

const WATCH_PAUSE_SECONDS = 0.2;

/** The scenario of that one caller. */
export const watcher = ({ exec, seconds }) => ({
  executor: 'per-vu-iterations',
  exec,
  vus: 1,
  iterations: 1,
  maxDuration: `${seconds + 120}s`,
});

/** Medians below this are taken as this: from 3 ms to 6 ms is a neighbour on the machine, not the service. */
const FLOOR_MS = countFromEnv('FLOOR_MS', 30);

/** How much slower, in percent: 100 is as fast as before. */
export const slowedPercent = (before, after) =>
  (100 * Math.max(after, FLOOR_MS)) / Math.max(before, FLOOR_MS);
