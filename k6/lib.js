// What the k6 scripts share: where the service is, who calls, how one order is asked for until its
// answer is definite, and how users and sales are made. `books.js` is how the end is judged, `load.js`
// the open model, `summary.js` the screen.
//
// What must stay true: a script passes only when its counters have *exactly* the expected values
// and the books were seen balanced (a positive count, so that "nothing happened" never passes).
// Nothing is imported from the network; only modules that k6 1.x and 2.x both carry.

import http from 'k6/http';
import { check, sleep } from 'k6';
import { randomBytes } from 'k6/crypto';
import { Counter, Trend } from 'k6/metrics';

// ---------------------------------------------------------------------------------- settings

export const BASE_URL = (__ENV.FLASHDEAL_URL || __ENV.BASE_URL || 'http://127.0.0.1:3000').replace(
  /\/+$/,
  '',
);
/** FLASHDEAL_OPS_LISTEN, where the service has one. */
const OPS_URL = (__ENV.FLASHDEAL_OPS_URL || BASE_URL).replace(/\/+$/, '');
const SERVICE_TOKEN = __ENV.FLASHDEAL_TOKEN || '';
const ADMIN_TOKEN = __ENV.FLASHDEAL_ADMIN_TOKEN || '';

/** `jwt` as soon as a token is given; in mode `open` every caller counts as admin. */
export const MODE = SERVICE_TOKEN || ADMIN_TOKEN ? 'jwt' : 'open';
/** Deposits, sales, opening balances and the audit are an admin's. */
export const CAN_ADMIN = MODE === 'open' || ADMIN_TOKEN !== '';
/** On the operator's own address the audit asks for no token. */
export const CAN_AUDIT = CAN_ADMIN || OPS_URL !== BASE_URL;

/** The output of `flashdeal seed`: {"sale_id": …, "user_ids": […]}. A relative path starts where k6 was started. */
const SEEDED = __ENV.FLASHDEAL_USERS_FILE ? JSON.parse(open(seedPath())) : null;

function seedPath() {
  const path = __ENV.FLASHDEAL_USERS_FILE;
  return path.startsWith('/') || !__ENV.PWD ? path : `${__ENV.PWD}/${path}`;
}

/** A whole number from the environment, or the default; anything else stops the run at once. */
export function countFromEnv(name, fallback) {
  const text = __ENV[name];
  if (text === undefined || text === '') return fallback;
  if (!/^[1-9][0-9]{0,8}$/.test(text))
    throw new Error(`${name}="${text}": a whole number above 0 is accepted`);
  return Number(text);
}

const SECONDS_IN = { s: 1, m: 60, h: 3600 };

/** A length of time from the environment (30s, 5m, 2h), or the default; in seconds. */
export function secondsFromEnv(name, fallback) {
  const text = __ENV[name] || fallback;
  if (!/^[1-9][0-9]{0,5}[smh]$/.test(text))
    throw new Error(`${name}="${text}": a whole number with a unit is accepted: 30s, 5m, 2h`);
  return Number(text.slice(0, -1)) * SECONDS_IN[text.slice(-1)];
}

// ----------------------------------------------------------------------------------- metrics

export const ordersCreated = new Counter('orders_created');
export const ordersSoldOut = new Counter('orders_out_of_stock');
export const ordersRefused = new Counter('orders_refused');
export const ordersReplayed = new Counter('orders_replayed');
export const answersUnexpected = new Counter('answers_unexpected');
const answersRetried = new Counter('answers_retried');
const orderDuration = new Trend('order_duration', true);

/** Options that every script has; `thresholds` decide the exit code (99 when one fails). */
export function optionsWith({ scenarios, thresholds, batch = 64 }) {
  return {
    scenarios,
    setupTimeout: '10m',
    teardownTimeout: '30m', // a long soak's orders are read page by page
    batch, // requests of one http.batch() under way at once: setup makes 10,000 users with it
    batchPerHost: batch,
    noCookiesReset: true,
    discardResponseBodies: false,
    summaryTrendStats: ['avg', 'min', 'med', 'p(95)', 'p(99)', 'max'],
    thresholds: Object.assign(
      { checks: ['rate==1'], http_req_failed: ['rate==0'], answers_unexpected: ['count==0'] },
      CAN_AUDIT ? { books_balanced: ['count==1'] } : {},
      thresholds,
    ),
  };
}

// ---------------------------------------------------------------------------------- requests

/** A UUID v4 from the operating system's randomness. */
export function uuid() {
  const bytes = new Uint8Array(randomBytes(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  let hex = '';
  for (let i = 0; i < 16; i++)
    hex +=
      (i === 4 || i === 6 || i === 8 || i === 10 ? '-' : '') +
      (bytes[i] + 256).toString(16).slice(1);
  return hex;
}

/** Params of one request: the caller's token, the key, the statuses that are no failure, a name for the metrics. */
export function params({ as = 'service', key, expect = [200], name, headers = {} }) {
  const token = as === 'nobody' ? '' : as === 'admin' ? ADMIN_TOKEN : SERVICE_TOKEN || ADMIN_TOKEN;
  const all = Object.assign({ 'Content-Type': 'application/json' }, headers);
  if (token) all.Authorization = `Bearer ${token}`;
  if (key !== undefined) all['Idempotency-Key'] = key;
  const tags = name ? { name } : undefined;
  return { headers: all, tags, responseCallback: http.expectedStatuses(...expect) };
}

export function get(path, options = {}) {
  return http.get(BASE_URL + path, params(Object.assign({ name: path.split('?')[0] }, options)));
}

/**
 * What an operator asks for: of the service, and where that does not give it, of the operator's address. So one setting
 * does for a service that has such an address and for one that has none.
 */
export function getAsOperator(path, expect) {
  const ask = (url, statuses) =>
    http.get(url + path, params({ as: 'admin', expect: statuses, name: `GET ${path}` }));
  if (OPS_URL === BASE_URL) return ask(BASE_URL, expect);
  const response = ask(BASE_URL, [{ min: 100, max: 599 }]);
  return expect.includes(response.status) ? response : ask(OPS_URL, expect);
}

export function post(path, body, options = {}) {
  return http.post(
    BASE_URL + path,
    JSON.stringify(body),
    params(Object.assign({ name: path, expect: [201] }, options)),
  );
}

/** The JSON of an answer, or {} when it has none: then no rule can take it for a definite answer. */
export function json(response) {
  try {
    return JSON.parse(response.body) || {};
  } catch (_) {
    return {};
  }
}

export const isReplay = (response) => header(response, 'Idempotent-Replayed') === 'true';

export function header(response, name) {
  const found = Object.keys(response.headers).find(
    (each) => each.toLowerCase() === name.toLowerCase(),
  );
  return found === undefined ? undefined : response.headers[found];
}

// ------------------------------------------------------------------------------------ orders

const ORDER_STATUSES = [201, 400, 409, 429, 503];

/** One order as a [method, url, body, params] row, for http.post, http.asyncRequest and http.batch alike. */
export function orderRow(userId, saleId, key, more = {}) {
  const body = JSON.stringify(Object.assign({ user_id: userId, sale_id: saleId }, more));
  return [
    'POST',
    `${BASE_URL}/api/orders`,
    body,
    params({ key, expect: ORDER_STATUSES, name: 'POST /api/orders' }),
  ];
}

export const sendOrder = (row) => seen(http.request(...row));

export function seen(response) {
  orderDuration.add(response.timings.duration);
  return response;
}

/** No answer, or one whose problem document says: again, with the same key, and not for a lack of stock or money. */
export function mustAskAgain(response) {
  if (response.status === 201) return false;
  const problem = json(response);
  const passing =
    response.status === 0 ||
    response.status === 409 ||
    response.status === 429 ||
    response.status >= 500;
  return passing && (problem.retry === undefined || problem.retry === 'same_key');
}

// With the waits below three minutes and more: longer than any documented wait, and than the two minutes without a
// database of the rehearsal in docs/RUNBOOK.md.
const ASK_AGAIN_MAX = 100;

/** Asks again with the same key and the same bytes until the answer is definite; null when it never is. */
export function settle(row, response) {
  for (let attempt = 1; mustAskAgain(response); attempt++) {
    if (attempt > ASK_AGAIN_MAX) return null;
    answersRetried.add(1);
    sleep(pause(response, attempt));
    response = sendOrder(row);
  }
  return response;
}

/** Seconds: what Retry-After says, else doubling from 50 ms up to 2 s; with up to half of it again as jitter. */
export function pause(response, attempt) {
  const asked = Number(header(response, 'Retry-After'));
  const wait = asked > 0 ? Math.min(asked, 10) : Math.min(0.05 * 2 ** (attempt - 1), 2);
  return wait * (1 + Math.random() / 2);
}

/** Money is a string; scripts reckon in whole cents. */
export const cents = (money) => Math.round(Number(money) * 100);

/** The refusal is this one, and says that nothing was charged. */
export const isRefusal = (response, code) =>
  response.status === 400 && json(response).code === code && json(response).charged === 'no';

/** Counts an answer that no rule of the script allows, and says what it was (the first few). */
export function unexpected(what, response) {
  answersUnexpected.add(1);
  if (__ITER < 3)
    console.error(
      `${what}: ${response ? `${response.status} ${String(response.body).slice(0, 300)}` : 'no definite answer'}`,
    );
}

// ------------------------------------------------------------------------------------ set-up

/** A sale that ends by itself an hour after its run, so that no script leaves a live sale behind. */
export function makeSale({ name, unit_price, stock, per_user_limit, starts_at, seconds = 0 }) {
  const ends_at = starts_at ? undefined : inSeconds(seconds + 3600);
  const sale = { name, unit_price, stock, per_user_limit, starts_at, ends_at };
  return mustBe(201, post('/api/sales', sale, { as: 'admin', key: uuid() }), 'making the sale');
}

export const inSeconds = (seconds) => new Date(Date.now() + seconds * 1000).toISOString();

/** `count` users with `balance` each, many at once; each POST has a key, so that one that is shed is sent again. */
export function makeUsers(count, balance) {
  const ids = [];
  while (ids.length < count) {
    let rows = [];
    for (let i = ids.length; i < Math.min(count, ids.length + 512); i++)
      rows.push(userRow(balance));
    for (let round = 1; rows.length > 0; round++) {
      const answers = http.batch(rows);
      const left = rows.filter((_, i) => answers[i].status !== 201);
      answers.filter((each) => each.status === 201).forEach((each) => ids.push(json(each).id));
      const refused = answers.find((each) => each.status !== 201 && !mustAskAgain(each));
      if (refused || round > 20) mustBe(201, refused || answers[0], 'making users');
      if (left.length > 0) sleep(0.2 * round);
      rows = left;
    }
  }
  return ids;
}

function userRow(balance) {
  const body = JSON.stringify({ name: 'k6 buyer', opening_balance: balance });
  return [
    'POST',
    `${BASE_URL}/api/users`,
    body,
    params({ as: 'admin', key: uuid(), expect: [201, 409, 429, 503], name: 'POST /api/users' }),
  ];
}

/**
 * The sale and the buyers of a scenario. Given ones (FLASHDEAL_USERS_FILE, FLASHDEAL_SALE_ID) are taken as they
 * are, so that a `service` token alone suffices; what is missing is made, which an admin may do.
 */
export function prepare(wanted) {
  const { buyers, balance } = wanted;
  const saleId = __ENV.FLASHDEAL_SALE_ID || (SEEDED && SEEDED.sale_id);
  if ((!saleId || !SEEDED) && !CAN_ADMIN) {
    throw new Error(
      'A service token makes no money: give FLASHDEAL_ADMIN_TOKEN, or FLASHDEAL_USERS_FILE (the output of `flashdeal seed`).',
    );
  }
  if (SEEDED && SEEDED.user_ids.length < buyers) {
    throw new Error(
      `FLASHDEAL_USERS_FILE has ${SEEDED.user_ids.length} users, ${buyers} are needed.`,
    );
  }
  const sale = saleId ? readSale(saleId) : makeSale(wanted);
  return { sale, users: SEEDED ? null : makeUsers(buyers, balance) };
}

/** The buyers of a file stay in the script's own memory; those made in setup() travel in its result. */
export const buyerAt = (data, index) => (data.users || SEEDED.user_ids)[index];

export const readSale = (id) =>
  mustBe(200, get(`/api/sales/${id}`, { name: 'GET /api/sales/{sale_id}' }), 'reading the sale');

/** The document of an answer that must have this status; stops the run (exit code 107) otherwise. */
export function mustBe(status, response, doing) {
  if (response.status !== status) {
    throw new Error(
      `${doing}: ${response.status || response.error} ${String(response.body || '').slice(0, 300)} (${BASE_URL}, mode ${MODE})`,
    );
  }
  return json(response);
}
