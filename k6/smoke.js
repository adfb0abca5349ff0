// Every endpoint once, on its good path and on a few bad ones. One person, one pass, a few seconds.
//
// What needs an admin is done when one is there (mode `open`, or FLASHDEAL_ADMIN_TOKEN); with a service
// token alone the same calls must be refused, and that is checked instead.

import http from 'k6/http';
import { check, sleep } from 'k6';
import * as flashdeal from './lib.js';
import * as books from './books.js';
import { summaryOf } from './summary.js';

const { cents, get, post, json, uuid, CAN_ADMIN, MODE } = flashdeal;
const UNKNOWN = '00000000-0000-4000-8000-000000000000';

export const options = flashdeal.optionsWith({
  scenarios: { once: { executor: 'shared-iterations', vus: 1, iterations: 1, maxDuration: '2m' } },
  thresholds: { iterations: ['count==1'], orders_created: ['count==1'] },
});

export function setup() {
  return flashdeal.prepare({
    buyers: 1,
    stock: 5,
    unit_price: '10.00',
    balance: '100.00',
    name: 'k6 smoke',
  });
}

export default function (data) {
  const buyer = flashdeal.buyerAt(data, 0);
  pages();
  const poor = users();
  const order = placeOneOrder(buyer, data.sale);
  readBack(buyer, data.sale, order);
  refuseOrders(buyer, poor, data.sale);
  refuseRequests();
  if (CAN_ADMIN) adminMay(buyer);
  else adminOnly(buyer);
  if (MODE === 'jwt') refuseStrangers(data.sale);
}

/** One check per call: the status, the problem's code when there is one, and what else must hold. */
function expect(name, response, status, more = () => true) {
  const ok = check(response, { [name]: (r) => r.status === status && more(json(r), r) });
  if (!ok)
    console.error(
      `${name}: wanted ${status}, got ${response.status} ${String(response.body).slice(0, 300)}`,
    );
  return json(response);
}

/** A refusal on a POST says its code, whether money was taken, and what to do with the key. */
function refuses(name, response, status, code, charged, retry) {
  return expect(
    name,
    response,
    status,
    (problem, r) =>
      problem.code === code &&
      problem.charged === charged &&
      problem.retry === retry &&
      problem.status === status &&
      problem.type === `/problems/${code}` &&
      /^application\/problem\+json/.test(flashdeal.header(r, 'Content-Type') || ''),
  );
}

const contains = (text) => (_, response) => String(response.body).includes(text);

function pages() {
  expect('GET /livez', get('/livez'), 200, (body) => body.status === 'alive');
  expect('GET /readyz', get('/readyz'), 200, (body) => body.status === 'ready');
  expect('GET /openapi.yaml', get('/openapi.yaml'), 200, contains('placeOrder'));
  expect(
    'GET /docs',
    get('/docs', { expect: [200, 301, 302, 303, 307, 308] }),
    200,
    contains('swagger'),
  );
  expect('GET /', get('/'), 200);
  expect('GET /problems/{code}', get('/problems/out_of_stock'), 200, contains('out_of_stock'));
}

/** A service makes users, without money; returns one who has none. */
function users() {
  const external_id = `k6-${uuid()}`;
  const key = uuid();
  const user = expect(
    'POST /api/users',
    post('/api/users', { name: 'k6 smoke', external_id }, { key }),
    201,
    (body) => body.external_id === external_id,
  );
  expect(
    'POST /api/users again is a replay',
    post('/api/users', { name: 'k6 smoke', external_id }, { key }),
    201,
    (body, r) => flashdeal.isReplay(r) && body.id === user.id,
  );
  refuses(
    'POST /api/users with a taken external_id',
    post('/api/users', { external_id }, { key: uuid(), expect: [409] }),
    409,
    'already_exists',
    'no',
    'never',
  );
  const own = uuid();
  const put = (status) =>
    http.put(
      `${flashdeal.BASE_URL}/api/users/${own}`,
      '{"name":"k6 put"}',
      flashdeal.params({ expect: [status], name: 'PUT /api/users/{user_id}' }),
    );
  expect('PUT /api/users/{user_id} makes', put(201), 201, (body) => body.id === own);
  expect('PUT /api/users/{user_id} again finds', put(200), 200, (body) => body.id === own);
  expect(
    'GET /api/users/{user_id}',
    get(`/api/users/${user.id}`),
    200,
    (body) => body.id === user.id,
  );
  expect(
    'GET /api/users?external_id=',
    get(`/api/users?external_id=${external_id}`),
    200,
    (body) => body.items.length === 1 && body.items[0].id === user.id,
  );
  expect(
    'GET /api/users?limit=1',
    get('/api/users?limit=1'),
    200,
    (body) => body.items.length === 1 && body.next_cursor !== undefined,
  );
  expect(
    'GET /api/users/{user_id} unknown',
    get(`/api/users/${UNKNOWN}`, { expect: [404] }),
    404,
    (body) => body.code === 'user_not_found',
  );
  return user.id;
}

const order = (buyer, sale, key, more = {}) => {
  const [, , body, params] = flashdeal.orderRow(buyer, sale.id, key, more);
  return http.post(
    `${flashdeal.BASE_URL}/api/orders`,
    body,
    Object.assign(params, { responseCallback: http.expectedStatuses({ min: 200, max: 499 }) }),
  );
};

function placeOneOrder(buyer, sale) {
  const key = uuid();
  const first = order(buyer, sale, key);
  const made = expect(
    'POST /api/orders',
    first,
    201,
    (body, r) =>
      body.status === 'confirmed' &&
      body.quantity === 1 &&
      body.unit_price === sale.unit_price &&
      flashdeal.header(r, 'Location') === `/api/orders/${body.id}` &&
      !flashdeal.isReplay(r),
  );
  if (first.status === 201) flashdeal.ordersCreated.add(1);
  const again = order(buyer, sale, key, { quantity: 1 });
  expect(
    'the same key again is the same answer',
    again,
    201,
    (_, r) => flashdeal.isReplay(r) && r.body === first.body,
  );
  const other = refuses(
    'the same key with another body',
    order(buyer, sale, key, { quantity: 2 }),
    422,
    'idempotency_key_reused',
    'yes',
    'new_key',
  );
  check(other, { 'the refusal names the order': (problem) => problem.order_id === made.id });
  return Object.assign(made, { key });
}

function readBack(buyer, sale, made) {
  expect(
    'GET /api/orders/{order_id}',
    get(`/api/orders/${made.id}`),
    200,
    (body) => body.id === made.id && body.total === made.total,
  );
  expect(
    'GET /api/orders?user_id=&idempotency_key=',
    get(`/api/orders?user_id=${buyer}&idempotency_key=${made.key}`),
    200,
    (body) => body.items.length === 1 && body.items[0].id === made.id,
  );
  expect(
    'GET /api/users/{user_id}/wallet',
    get(`/api/users/${buyer}/wallet`),
    200,
    (body) => body.balance === made.balance_after,
  );
  expect(
    'GET /api/users/{user_id}/wallet/entries',
    get(`/api/users/${buyer}/wallet/entries?limit=1`),
    200,
    (body) => body.items[0].order_id === made.id && body.items[0].amount === `-${made.total}`,
  );
  sleep(0.5); // sales are read from memory, at most 250 ms old
  expect('GET /api/sales', get('/api/sales'), 200, (body) => body.items.length > 0);
  expect('GET /api/sales?status=live', get('/api/sales?status=live'), 200, (body) =>
    body.items.some((each) => each.id === sale.id),
  );
  expect(
    'GET /api/sales/{sale_id}',
    get(`/api/sales/${sale.id}`),
    200,
    (body) => body.stock === sale.stock - 1,
  );
  expect('a trailing slash changes nothing', get('/api/sales/'), 200);
  expect(
    'HEAD works where GET does',
    http.head(`${flashdeal.BASE_URL}/api/sales`, flashdeal.params({})),
    200,
  );
}

function refuseOrders(buyer, poor, sale) {
  refuses(
    'an order without a key',
    order(buyer, sale, undefined),
    400,
    'idempotency_key_missing',
    'no',
    'never',
  );
  refuses(
    'an order with a malformed key',
    order(buyer, sale, 'two words'),
    400,
    'idempotency_key_invalid',
    'no',
    'never',
  );
  refuses(
    'an order of nothing',
    order(buyer, sale, uuid(), { quantity: 0 }),
    400,
    'validation_failed',
    'no',
    'never',
  );
  refuses(
    'an order with an unknown field',
    order(buyer, sale, uuid(), { price: '1.00' }),
    400,
    'validation_failed',
    'no',
    'never',
  );
  refuses(
    'an order of a malformed user',
    order('me', sale, uuid()),
    400,
    'validation_failed',
    'no',
    'never',
  );
  refuses(
    'an order of an unknown user',
    order(UNKNOWN, sale, uuid()),
    404,
    'user_not_found',
    'no',
    'never',
  );
  refuses(
    'an order from an unknown sale',
    order(buyer, { id: UNKNOWN }, uuid()),
    404,
    'sale_not_found',
    'no',
    'never',
  );
  refuses(
    'an order that came too late',
    order(buyer, sale, uuid(), { valid_until: '2020-01-01T00:00:00Z' }),
    400,
    'order_expired',
    'no',
    'new_key',
  );
  if (sale.unit_price !== '0.00') {
    refuses(
      'an order without money',
      order(poor, sale, uuid()),
      400,
      'insufficient_balance',
      'no',
      'same_key',
    );
  }
}

function refuseRequests() {
  const url = `${flashdeal.BASE_URL}/api/orders`;
  const raw = (body, status, headers) =>
    http.post(
      url,
      body,
      flashdeal.params({ key: uuid(), expect: [status], headers, name: 'POST /api/orders' }),
    );
  refuses('a body that is no JSON', raw('{', 400), 400, 'validation_failed', 'no', 'never');
  refuses('a body that is an array', raw('[]', 400), 400, 'validation_failed', 'no', 'never');
  refuses(
    'a body of another type',
    raw('{}', 415, { 'Content-Type': 'text/plain' }),
    415,
    'unsupported_media_type',
    'no',
    'never',
  );
  expect(
    'a method that is not there',
    http.del(url, null, flashdeal.params({ expect: [405] })),
    405,
    (_, r) => flashdeal.header(r, 'Allow') !== undefined,
  );
  expect(
    '/api/purchases names the right route',
    post('/api/purchases', {}, { key: uuid(), expect: [404] }),
    404,
    (body) => body.code === 'route_not_found' && body.detail.includes('POST /api/orders'),
  );
  expect(
    'a malformed id in a path',
    get('/api/orders/42', { expect: [404] }),
    404,
    (body) => body.code === 'order_not_found',
  );
  expect(
    'a limit of 0',
    get('/api/orders?limit=0', { expect: [400] }),
    400,
    (body) => body.code === 'validation_failed',
  );
  expect(
    'an unknown filter',
    get('/api/sales?colour=red', { expect: [400] }),
    400,
    (body) => body.code === 'validation_failed',
  );
}

function adminMay(buyer) {
  const admin = { as: 'admin', key: uuid() };
  const path = `/api/users/${buyer}/wallet/deposits`;
  const before = json(get(`/api/users/${buyer}/wallet`)).balance;
  const entry = expect(
    'POST …/wallet/deposits',
    post(path, { amount: '5.00' }, admin),
    201,
    (body) => body.type === 'deposit' && body.amount === '5.00',
  );
  expect(
    'POST …/wallet/deposits again is a replay',
    post(path, { amount: '5.00' }, admin),
    201,
    (body, r) => flashdeal.isReplay(r) && body.id === entry.id,
  );
  expect(
    'the deposit was made once',
    get(`/api/users/${buyer}/wallet`),
    200,
    (body) => cents(body.balance) === cents(before) + 500,
  );
  refuses(
    'a deposit of a number',
    post(path, { amount: 5 }, { as: 'admin', key: uuid(), expect: [400] }),
    400,
    'validation_failed',
    'no',
    'never',
  );
  refuses(
    'a deposit without a key',
    post(path, { amount: '5.00' }, { as: 'admin', expect: [400] }),
    400,
    'idempotency_key_missing',
    'no',
    'never',
  );
  const empty = expect(
    'POST /api/sales',
    post(
      '/api/sales',
      { name: 'k6 sold out', unit_price: '0.00', stock: 0 },
      { as: 'admin', key: uuid() },
    ),
    201,
    (body) => body.status === 'sold_out',
  );
  const gone = refuses(
    'an order of a sold-out sale',
    order(buyer, empty, uuid()),
    400,
    'out_of_stock',
    'no',
    'same_key',
  );
  check(gone, { 'the refusal says what is left': (problem) => problem.stock === 0 });
  const later = post(
    '/api/sales',
    { name: 'k6 later', unit_price: '1.00', stock: 1, starts_at: '2099-01-01T00:00:00Z' },
    { as: 'admin', key: uuid() },
  );
  refuses(
    'an order before the start',
    order(buyer, json(later), uuid()),
    400,
    'sale_not_open',
    'no',
    'same_key',
  );
  expect(
    'GET /metrics',
    flashdeal.getAsOperator('/metrics', [200]),
    200,
    contains('orders_total'),
  );
}

/** With a service token alone: money is made by no service. */
function adminOnly(buyer) {
  const refused = { key: uuid(), expect: [403] };
  expect(
    'a service makes no deposit',
    post(`/api/users/${buyer}/wallet/deposits`, { amount: '5.00' }, refused),
    403,
    (body) => body.code === 'forbidden',
  );
  expect(
    'a service makes no sale',
    post('/api/sales', { name: 'k6', unit_price: '1.00', stock: 1 }, refused),
    403,
    (body) => body.code === 'forbidden',
  );
  expect(
    'a service makes no opening balance',
    post('/api/users', { opening_balance: '5.00' }, refused),
    403,
    (body) => body.code === 'forbidden',
  );
}

function refuseStrangers(sale) {
  const stranger = { as: 'nobody', key: uuid(), expect: [401] };
  expect(
    'an order without a token',
    post('/api/orders', { sale_id: sale.id }, stranger),
    401,
    (body, r) =>
      body.code === 'unauthenticated' &&
      /^Bearer/.test(flashdeal.header(r, 'WWW-Authenticate') || ''),
  );
  expect('the sales are public', get('/api/sales', { as: 'nobody' }), 200);
}

export function teardown() {
  books.audit();
}

export const handleSummary = summaryOf('smoke');
