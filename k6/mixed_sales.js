// Many sales at once, of every kind, and the same wallets in all of them: no sale's rules leak into another.
//
// Open model: orders arrive at RATE. Half of them want the hot sale, which sells out; the others go to sales with
// other prices, one of them with a limit that few buyers run into, and one that has not begun. Each sale is
// accounted for by itself, and each buyer's wallet must have lost exactly what that buyer's orders cost.

import { check } from 'k6';
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import * as load from './load.js';
import { latency, summaryOf } from './summary.js';

const RATE = flashdeal.countFromEnv('RATE', 40);
const SECONDS = flashdeal.secondsFromEnv('DURATION', '10s');
const SALES = flashdeal.countFromEnv('SALES', 8);
const BUYERS = flashdeal.countFromEnv('BUYERS', 40);
const P99_MS = flashdeal.countFromEnv('P99_MS', 2000);
const HOT_ITEMS = flashdeal.countFromEnv('ITEMS', Math.floor((RATE * SECONDS) / 4));
const LIMIT = 3;
const OTHER_ORDERS = Math.floor((RATE * SECONDS) / 2 / (SALES - 1)); // of each sale but the hot one
const LIMITED_BUYERS = Math.min(BUYERS, Math.floor(OTHER_ORDERS / (2 * LIMIT))); // twice their limit
const [HOT, LIMITED, UPCOMING] = [0, 1, 2]; // the kinds; from 3 on: ample stock, no limit
if (SALES < 4) throw new Error(`SALES=${SALES}: at least 4, one of each kind`);
if (HOT_ITEMS > (RATE * SECONDS) / 3)
  throw new Error(`ITEMS=${HOT_ITEMS} is above a third of RATE × DURATION: it would not sell out`);

if (LIMITED_BUYERS < 1)
  throw new Error(`RATE × DURATION is too little for SALES=${SALES}: nobody would reach the limit`);

const hotDuration = new Trend('order_hot_duration', true);
const otherDuration = new Trend('order_other_duration', true);

const every = Array.from({ length: SALES }, (_, kind) => kind);

export const options = flashdeal.optionsWith({
  scenarios: { orders: load.arrivals({ exec: 'shop', rate: RATE, seconds: SECONDS }) },
  thresholds: Object.assign(
    {},
    load.NONE_DROPPED,
    books.ALL_ACCOUNTED,
    { orders_refused: ['count>0'], order_other_duration: [`p(99)<${P99_MS}`] },
    ...every.map((kind) => ({
      [`orders_unaccounted{sale:${kind}}`]: ['count==0'],
      [`orders_created{sale:${kind}}`]: [soldOf(kind)],
    })),
  ),
});

function soldOf(kind) {
  if (kind === HOT) return `count==${HOT_ITEMS}`;
  if (kind === LIMITED) return `count==${LIMITED_BUYERS * LIMIT}`;
  return kind === UPCOMING ? 'count==0' : 'count>0';
}

export function setup() {
  if (!flashdeal.CAN_ADMIN)
    throw new Error("Many sales are made here, which is an admin's: give FLASHDEAL_ADMIN_TOKEN.");
  const sales = every.map((kind) =>
    flashdeal.makeSale({
      name: `k6 mixed ${kind}`,
      unit_price: `${kind}.25`,
      stock: kind === HOT ? HOT_ITEMS : RATE * SECONDS * 3,
      per_user_limit: kind === LIMITED ? LIMIT : undefined,
      starts_at: kind === UPCOMING ? flashdeal.inSeconds(SECONDS + 3600) : undefined,
      seconds: SECONDS,
    }),
  );
  const users = flashdeal.makeUsers(BUYERS, `${SALES * 3 * RATE * SECONDS}.00`);
  return { sales, users, opened: sales.map(books.begin) };
}

export function shop(data) {
  const nth = exec.scenario.iterationInTest;
  const round = Math.floor(nth / 2);
  const kind = nth % 2 === 0 ? HOT : 1 + (round % (SALES - 1));
  const quantity = kind === HOT || kind === LIMITED ? 1 : 1 + (nth % 3);
  const buyer = data.users[buyerOf(kind, round)];
  const sale = data.sales[kind];
  const row = flashdeal.orderRow(buyer, sale.id, flashdeal.uuid(), { quantity });
  const answer = flashdeal.settle(row, flashdeal.sendOrder(row));
  if (answer) (kind === HOT ? hotDuration : otherDuration).add(answer.timings.duration);
  if (answer && answer.status === 201) {
    books.made({ sale: String(kind) });
    judgeOrder(flashdeal.json(answer), { buyer, sale, quantity });
  } else if (answer && isExpected(kind, answer)) {
    flashdeal.ordersRefused.add(1, { sale: String(kind) });
  } else {
    flashdeal.unexpected(`order of sale ${kind}`, answer);
  }
}

/** Those who want the limited sale are few and come in turn, so that each of them reaches the limit. */
const buyerOf = (kind, round) =>
  kind === LIMITED
    ? Math.floor(round / (SALES - 1)) % LIMITED_BUYERS
    : Math.floor(Math.random() * BUYERS);

function judgeOrder(order, { buyer, sale, quantity }) {
  check(order, {
    "the order is the buyer's own, from the sale that was asked": () =>
      order.user_id === buyer && order.sale_id === sale.id && order.quantity === quantity,
    "the price is the sale's": () =>
      order.unit_price === sale.unit_price &&
      flashdeal.cents(order.total) === quantity * flashdeal.cents(sale.unit_price),
  });
}

const REFUSAL_OF = {
  [HOT]: 'out_of_stock',
  [LIMITED]: 'purchase_limit_reached',
  [UPCOMING]: 'sale_not_open',
};

const isExpected = (kind, answer) =>
  kind in REFUSAL_OF && flashdeal.isRefusal(answer, REFUSAL_OF[kind]);

export function teardown(data) {
  data.opened.forEach((opened, kind) => books.close(opened, { sale: String(kind) }));
  data.users.forEach(checkWallet);
  books.audit();
}

/** The wallet's entries are the opening balance and one debit for each order; their sum is what is left. */
function checkWallet(user) {
  const path = `/api/users/${user}/wallet`;
  const balance = flashdeal.json(
    flashdeal.get(path, { name: 'GET /api/users/{user_id}/wallet' }),
  ).balance;
  const opening = SALES * 3 * RATE * SECONDS * 100;
  const spent = books.listOrders({ user_id: user }).cents;
  check(balance, {
    "a wallet lost exactly what its owner's orders cost": () =>
      flashdeal.cents(balance) === opening - spent,
  });
}

export const handleSummary = summaryOf(
  `mixed sales, ${SALES} sales, ${RATE} orders/s for ${SECONDS} s`,
  (metrics) => [
    ...latency('the hot sale', metrics.order_hot_duration),
    ...latency('the other sales', metrics.order_other_duration),
  ],
);
