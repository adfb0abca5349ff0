// Every buyer clicks two to five times within 50 ms, with one key: exactly one order each, equal answers,
// and exactly one answer that is not a replay.
//
// Half of the buyers send all clicks in the same instant (http.batch), the other half spread over 50 ms
// (http.asyncRequest), so that twins meet before, during and after the first one's commit.

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import { summaryOf } from './summary.js';

const BUYERS = flashdeal.countFromEnv('BUYERS', 500);
const VUS = Math.min(flashdeal.countFromEnv('VUS', 20), BUYERS);
const CLICK_WINDOW_MS = 50;

export const options = flashdeal.optionsWith({
  scenarios: {
    clicks: { executor: 'shared-iterations', vus: VUS, iterations: BUYERS, maxDuration: '10m' },
  },
  thresholds: {
    iterations: [`count==${BUYERS}`],
    orders_created: [`count==${BUYERS}`],
    orders_replayed: ['count>0'],
  },
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: BUYERS,
    stock: BUYERS * 5,
    unit_price: '10.00',
    balance: '100.00',
    name: 'k6 double click',
  });
  if (data.sale.stock < BUYERS)
    throw new Error(
      `The sale has ${data.sale.stock} items left for ${BUYERS} buyers: seed a fresh sale or set BUYERS.`,
    );
  return data;
}

export default async function (data) {
  const index = exec.scenario.iterationInTest;
  const buyer = flashdeal.buyerAt(data, index);
  const key = flashdeal.uuid();
  const row = flashdeal.orderRow(buyer, data.sale.id, key);
  const clicks = 2 + Math.floor(Math.random() * 4);
  const first = index % 2 === 0 ? allAtOnce(row, clicks) : await withinTheWindow(row, clicks);
  first.forEach(flashdeal.seen);
  judge(
    data,
    buyer,
    key,
    first,
    first.map((answer) => flashdeal.settle(row, answer)),
  );
}

const allAtOnce = (row, clicks) => http.batch(Array(clicks).fill(row));

function withinTheWindow(row, clicks) {
  const click = async (_, nth) => {
    await new Promise((resolve) =>
      setTimeout(resolve, nth === 0 ? 0 : Math.random() * CLICK_WINDOW_MS),
    );
    return http.asyncRequest(...row);
  };
  return Promise.all(Array.from({ length: clicks }, click));
}

function judge(data, buyer, key, first, answers) {
  answers
    .filter((each) => !each || each.status !== 201)
    .forEach((each) => flashdeal.unexpected('click', each));
  const made = answers.filter((each) => each && each.status === 201);
  const fresh = made.filter((each) => !flashdeal.isReplay(each)).length;
  flashdeal.ordersReplayed.add(made.length - fresh);
  // When the answer that carried the order was lost on the way, every answer that arrived is a replay.
  const lost = first.some(
    (each) => each.status === 0 || flashdeal.json(each).code === 'outcome_unknown',
  );
  const listed =
    flashdeal.json(
      flashdeal.get(`/api/orders?user_id=${buyer}&idempotency_key=${key}`, {
        name: 'GET /api/orders',
      }),
    ).items || [];
  const wallet = flashdeal.json(
    flashdeal.get(`/api/users/${buyer}/wallet`, { name: 'GET /api/users/{user_id}/wallet' }),
  );
  flashdeal.ordersCreated.add(listed.length);
  const order = made.length > 0 ? flashdeal.json(made[0]) : {};
  check(made, {
    'every click is answered 201': (all) => all.length === answers.length,
    'all bodies are equal, byte for byte': (all) => all.every((each) => each.body === all[0].body),
    'exactly one answer is not a replay': () => fresh === 1 || (lost && fresh === 0),
    'the list has exactly this one order': () => listed.length === 1 && listed[0].id === order.id,
    'the wallet was debited once': () => wallet.balance === order.balance_after,
  });
}

export function teardown(data) {
  books.checkSold(data.sale, BUYERS);
  books.audit();
}

export const handleSummary = summaryOf(`double click, ${BUYERS} buyers`);
