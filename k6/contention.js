// Many buyers for few items: exactly as many orders as there are items, and a plain "out of stock" for all others.
//
// A documented "not now" (503, 429, 409) is asked again with the same key until the answer is definite,
// as every client must; it never counts as an order nor as a refusal.

import { check } from 'k6';
import exec from 'k6/execution';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import { summaryOf } from './summary.js';

const BUYERS = flashdeal.countFromEnv('BUYERS', 10000);
const ITEMS = flashdeal.countFromEnv('ITEMS', 100);
const VUS = Math.min(flashdeal.countFromEnv('VUS', 200), BUYERS);
if (ITEMS > BUYERS)
  throw new Error(`ITEMS=${ITEMS} is more than BUYERS=${BUYERS}: nothing would be contended for`);

export const options = flashdeal.optionsWith({
  scenarios: {
    rush: { executor: 'shared-iterations', vus: VUS, iterations: BUYERS, maxDuration: '15m' },
  },
  thresholds: {
    iterations: [`count==${BUYERS}`],
    orders_created: [`count==${ITEMS}`],
    orders_out_of_stock: [`count==${BUYERS - ITEMS}`],
  },
});

export function setup() {
  const data = flashdeal.prepare({
    buyers: BUYERS,
    stock: ITEMS,
    unit_price: '10.00',
    balance: '100.00',
    name: 'k6 contention',
  });
  if (data.sale.stock !== ITEMS)
    throw new Error(
      `The sale has ${data.sale.stock} items left, ITEMS is ${ITEMS}: seed a fresh sale or set ITEMS.`,
    );
  return data;
}

export default function (data) {
  const buyer = flashdeal.buyerAt(data, exec.scenario.iterationInTest);
  const row = flashdeal.orderRow(buyer, data.sale.id, flashdeal.uuid());
  const answer = flashdeal.settle(row, flashdeal.sendOrder(row));
  const document = answer ? flashdeal.json(answer) : {};
  if (answer && answer.status === 201) {
    flashdeal.ordersCreated.add(1);
    check(document, {
      "the order is the buyer's own": (order) =>
        order.user_id === buyer && order.sale_id === data.sale.id,
      'the order is confirmed': (order) => order.status === 'confirmed',
    });
  } else if (answer && answer.status === 400 && document.code === 'out_of_stock') {
    flashdeal.ordersSoldOut.add(1);
    check(document, {
      'the refusal says that nothing was charged': (problem) =>
        problem.charged === 'no' && problem.stock === 0,
    });
  } else {
    flashdeal.unexpected('order', answer);
  }
}

export function teardown(data) {
  books.checkSold(data.sale, ITEMS);
  books.audit();
}

export const handleSummary = summaryOf(`contention, ${BUYERS} buyers for ${ITEMS} items`);
