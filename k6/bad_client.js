// A client that makes a new key for every click: what the key cannot stop, the sale's limit for each user stops.
//
// To the service each click is a decision of its own. So a buyer gets as many orders as the limit has units, not
// one more, however many clicks race; every other click is refused with the numbers, and nothing is charged for it.
// Half of the buyers send all clicks in the same instant, the other half one after the other.

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import { summaryOf } from './summary.js';

const BUYERS = flashdeal.countFromEnv('BUYERS', 100);
const CLICKS = flashdeal.countFromEnv('CLICKS', 6);
const LIMIT = flashdeal.countFromEnv('LIMIT', 2);
const VUS = Math.min(flashdeal.countFromEnv('VUS', 10), BUYERS);
if (LIMIT >= CLICKS)
  throw new Error(`LIMIT=${LIMIT} is not below CLICKS=${CLICKS}: nobody would reach it`);

const REFUSED = BUYERS * (CLICKS - LIMIT + 1); // every click above the limit, and one for too many units

export const options = flashdeal.optionsWith({
  scenarios: {
    clicks: { executor: 'shared-iterations', vus: VUS, iterations: BUYERS, maxDuration: '10m' },
  },
  thresholds: Object.assign({}, books.ALL_ACCOUNTED, {
    iterations: [`count==${BUYERS}`],
    orders_created: [`count==${BUYERS * LIMIT}`],
    orders_refused: [`count==${REFUSED}`],
    orders_replayed: [`count==${BUYERS}`],
  }),
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: BUYERS,
    stock: BUYERS * CLICKS * 2, // stock and money for every click: only the limit can refuse
    unit_price: '1.00',
    balance: `${CLICKS * 2 + LIMIT}.00`,
    per_user_limit: LIMIT,
    name: 'k6 bad client',
  });
  const { sale } = data;
  if (sale.per_user_limit !== LIMIT || sale.stock < BUYERS * CLICKS)
    throw new Error(
      `The sale has the limit ${sale.per_user_limit} and ${sale.stock} items: seed one with --limit ${LIMIT} and --stock ${BUYERS * CLICKS} or more.`,
    );
  return Object.assign(data, { opened: books.begin(sale) });
}

export default function (data) {
  const index = exec.scenario.iterationInTest;
  const buyer = flashdeal.buyerAt(data, index);
  const before = walletOf(buyer);
  const newClick = (more) => flashdeal.orderRow(buyer, data.sale.id, flashdeal.uuid(), more);
  refuse(newClick({ quantity: LIMIT + 1 }), 0); // the limit counts units, not orders

  const rows = Array.from({ length: CLICKS }, () => newClick());
  const answers = index % 2 === 0 ? allAtOnce(rows) : rows.map(clickAndSettle);
  const won = rows.map((row, i) => ({ row, answer: answers[i] })).filter(isOrder);
  const lost = answers.filter((answer) => !isOrder({ answer }));
  won.forEach(() => books.made());
  lost.forEach((answer) => judgeRefusal(answer, LIMIT));

  const debited = flashdeal.cents(before) - flashdeal.cents(walletOf(buyer));
  const listed = books.listOrders({ user_id: buyer, sale_id: data.sale.id });
  check(null, {
    'a buyer has as many orders as the limit, whatever was clicked': () => won.length === LIMIT,
    'the list has them and no other': () => listed.orders === LIMIT && listed.units === LIMIT,
    'the wallet was debited for them and nothing else': () => debited === listed.cents,
  });
  if (won.length > 0) replay(won[0]);
}

const isOrder = ({ answer }) => answer !== null && answer.status === 201;

const allAtOnce = (rows) =>
  http.batch(rows).map((answer, i) => flashdeal.settle(rows[i], flashdeal.seen(answer)));

const clickAndSettle = (row) => flashdeal.settle(row, flashdeal.sendOrder(row));

const refuse = (row, bought) => judgeRefusal(clickAndSettle(row), bought);

function judgeRefusal(answer, bought) {
  if (!answer || !flashdeal.isRefusal(answer, 'purchase_limit_reached')) {
    flashdeal.unexpected('click above the limit', answer);
    return;
  }
  flashdeal.ordersRefused.add(1);
  check(flashdeal.json(answer), {
    'the refusal names the limit and what was bought': (problem) =>
      problem.limit === LIMIT && problem.bought === bought,
  });
}

/** A retry of an order that was made is never told of the limit: it gets its first answer again. */
function replay({ row, answer }) {
  const again = clickAndSettle(row);
  const same = again !== null && flashdeal.isReplay(again) && again.body === answer.body;
  check(again, { "a winner's retry is its first answer, at the limit too": () => same });
  if (same) flashdeal.ordersReplayed.add(1);
}

const walletOf = (buyer) =>
  flashdeal.json(
    flashdeal.get(`/api/users/${buyer}/wallet`, { name: 'GET /api/users/{user_id}/wallet' }),
  ).balance;

export function teardown(data) {
  books.close(data.opened);
  books.audit();
}

export const handleSummary = summaryOf(
  `bad client, ${BUYERS} buyers click ${CLICKS} times with new keys, limit ${LIMIT}`,
);
