// A plain load: ten shoppers, each buys, rests 0.1 s and buys again, for users that the service already has. A
// database of one's own has none at first: then an admin's run makes some.
//
// A closed loop: it shows that the service works under traffic, not how fast it could be (a slow answer
// slows the shoppers down too). For speed there is `cargo bench`.

import { check, sleep } from 'k6';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import { summaryOf } from './summary.js';

const USERS_MAX = flashdeal.countFromEnv('USERS', 1000);
const USERS_MADE = Math.min(USERS_MAX, 100); // where there are none
const VUS = flashdeal.countFromEnv('VUS', 10);
const DURATION = __ENV.DURATION || '30s';
const PAUSE_SECONDS = Number(__ENV.PAUSE_SECONDS || '0.1');
const REFUSALS = [
  'out_of_stock',
  'insufficient_balance',
  'purchase_limit_reached',
  'sale_not_open',
];

export const options = flashdeal.optionsWith({
  scenarios: { shoppers: { executor: 'constant-vus', vus: VUS, duration: DURATION } },
  thresholds: { orders_created: ['count>0'] },
});

export function setup() {
  const users = fetchUsers();
  return { users: users.length > 0 ? users : makeUsers(), sale: chooseSale() };
}

function makeUsers() {
  if (!flashdeal.CAN_ADMIN)
    throw new Error(
      'The service has no users yet: run `flashdeal seed` first, or give FLASHDEAL_ADMIN_TOKEN.',
    );
  return flashdeal.makeUsers(USERS_MADE, '1000.00');
}

/** Page by page, up to USERS of them. */
function fetchUsers() {
  const users = [];
  let cursor = '';
  do {
    const path = `/api/users?limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = flashdeal.mustBe(200, flashdeal.get(path), 'listing the users');
    page.items.forEach((user) => users.push(user.id));
    cursor = page.next_cursor || '';
  } while (cursor && users.length < USERS_MAX);
  return users.slice(0, USERS_MAX);
}

/** The sale that was named; else a large, cheap one of its own; without an admin, the first live one. */
function chooseSale() {
  if (__ENV.FLASHDEAL_SALE_ID) return flashdeal.readSale(__ENV.FLASHDEAL_SALE_ID);
  if (flashdeal.CAN_ADMIN)
    return flashdeal.makeSale({ name: 'k6 load test', unit_price: '0.01', stock: 10000000 });
  const live = flashdeal.mustBe(
    200,
    flashdeal.get('/api/sales?status=live'),
    'listing the sales',
  ).items;
  if (live.length === 0)
    throw new Error('No sale is live: give FLASHDEAL_SALE_ID or FLASHDEAL_ADMIN_TOKEN.');
  return live[0];
}

export default function (data) {
  const buyer = data.users[Math.floor(Math.random() * data.users.length)];
  const row = flashdeal.orderRow(buyer, data.sale.id, flashdeal.uuid());
  const answer = flashdeal.settle(row, flashdeal.sendOrder(row));
  const document = answer ? flashdeal.json(answer) : {};
  if (answer && answer.status === 201) {
    flashdeal.ordersCreated.add(1);
    check(document, { "the order is the buyer's own": (order) => order.user_id === buyer });
  } else if (answer && answer.status === 400 && REFUSALS.includes(document.code)) {
    flashdeal.ordersRefused.add(1);
    check(document, {
      'the refusal says that nothing was charged': (problem) => problem.charged === 'no',
    });
  } else {
    flashdeal.unexpected('order', answer);
  }
  sleep(PAUSE_SECONDS);
}

export function teardown() {
  books.audit();
}

export const handleSummary = summaryOf(`load test, ${VUS} shoppers for ${DURATION}`);
