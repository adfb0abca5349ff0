// The end of a run: what was answered, what was stored and what the audit says are one and the same.
//
// Counts decide, not exceptions: k6 sees the samples of teardown(), and a threshold on a count cannot pass by silence.

import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import {
  CAN_AUDIT,
  cents,
  get,
  getAsOperator,
  json,
  mustBe,
  ordersCreated,
  pause,
  readSale,
} from './lib.js';

const booksBalanced = new Counter('books_balanced');
/** 201s less the orders found at the end: 0. Above: a 201 without an order; below: an order that nobody was told of. */
const ordersUnaccounted = new Counter('orders_unaccounted');

/** Counts an answer that made an order: the first 201 of its key. The lists must have it in the end (`close`). */
export function made(tags) {
  ordersCreated.add(1, tags);
  ordersUnaccounted.add(1, tags);
}

/** Asks the service to check its books. The count, not an exception, fails the run: thresholds see teardown's samples. */
export function audit() {
  if (!CAN_AUDIT) {
    console.warn(
      "The books were not asked for: that is an admin's. Give FLASHDEAL_ADMIN_TOKEN or run `flashdeal verify`.",
    );
    return;
  }
  const response = askForAudit();
  const report = json(response);
  check(response, {
    'audit answers 200': (r) => r.status === 200,
    'the books balance': () => report.balanced === true,
  });
  if (response.status === 200 && report.balanced === true) booksBalanced.add(1);
  else console.error(`audit: ${response.status} ${String(response.body).slice(0, 2000)}`);
}

/** The audit's answer; it is asked again while the service has no room for it. */
export function askForAudit() {
  let response;
  for (let attempt = 1; attempt <= 10; attempt++) {
    response = getAsOperator('/api/audit', [200, 429, 503]);
    if (response.status !== 429 && response.status !== 503) break;
    sleep(pause(response, attempt));
  }
  return response;
}

/** What was sold since `before` (a Sale) is exactly `expected`; needs no admin. A read may be 250 ms old. */
export function checkSold(before, expected) {
  let sold = before.stock - readSale(before.id).stock;
  for (let again = 0; again < 10 && sold !== expected; again++) {
    sleep(0.1);
    sold = before.stock - readSale(before.id).stock;
  }
  check(sold, { 'the stock fell by exactly what was sold': (units) => units === expected });
  if (sold !== expected) console.error(`the stock fell by ${sold}, ${expected} were expected`);
}

/** Where the books of a sale stand before the first order of this run. */
export const begin = (sale) => ({ sale, listed: listOrders({ sale_id: sale.id }) });

/**
 * Every order that is listed was answered 201 and the other way round (threshold `ALL_ACCOUNTED`; here is the
 * second half of its count), and the stock fell by exactly the units of the orders found. Returns what was found.
 */
export function close(opened, tags) {
  const listed = listOrders({ sale_id: opened.sale.id });
  const orders = listed.orders - opened.listed.orders;
  ordersUnaccounted.add(-orders, tags);
  checkSold(opened.sale, listed.units - opened.listed.units);
  return orders;
}

export const ALL_ACCOUNTED = { orders_unaccounted: ['count==0'], orders_created: ['count>0'] };

/** All orders with this filter, page by page: how many, how many units, how many cents. */
export function listOrders(filter) {
  const query = Object.keys(filter).map((name) => `${name}=${encodeURIComponent(filter[name])}`);
  const sum = { orders: 0, units: 0, cents: 0 };
  let cursor = '';
  do {
    const path = `/api/orders?limit=200&${query.join('&')}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = mustBe(200, get(path), 'listing the orders');
    page.items.forEach((order) => {
      sum.orders += 1;
      sum.units += order.quantity;
      sum.cents += cents(order.total);
    });
    cursor = page.next_cursor || '';
  } while (cursor);
  return sum;
}
