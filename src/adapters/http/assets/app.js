// The page: the live sale, the buyer's wallet and orders, and one Buy button.
//
// What must stay true (the contract's rule for clients):
//  * One press makes ONE key, when the buyer decides. Key and exact body are written to storage before the
//    first request leaves, and every retry sends the same key and the same bytes, also after a reload.
//  * The key is given up only when it is finished: answered 201 (or `charged: "yes"`), or every attempt sent
//    with it had a definite answer (`charged: "no"`), or its `valid_until` has passed.
//  * `charged` and `retry` of the problem document decide, never the status alone; an answer without them
//    (a proxy's page, a cut connection, silence) decides nothing.
//  * The words on the screen say in every state whether money was taken, and never more than is known.
//
// Each attempt leaves a mark in storage before it is sent, which only a definite answer to *that* attempt
// removes. A mark that is left (lost answer, reload, closed tab) means: an attempt may still be under way.
// Definite is `charged: "no"`, and the refusals at the door that the contract says "executed nothing and
// never will": those speak of the key with `unknown`, because the key was not looked up.

const DEMO_BUYER = '0190a000-0000-7000-8000-000000000001';
const REFUSED_AT_THE_DOOR = new Set([
  'rate_limited',
  'overloaded',
  'draining',
  'database_unavailable',
]);
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const ONE_PRESS_MS = 1_000; // clicks within it are one press: the answer may come between the two of a double click
const VALID_MS = 60_000; // how long an order may be executed after the press
const MARGIN_MS = 15_000; // after valid_until: a commit under way ends, and the clock below may be 2 s off
const ANSWER_TIMEOUT_MS = 12_000; // the service itself answers within 10 s
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 8_000;
const RETRY_AFTER_MAX_MS = 60_000;
const LAST_ATTEMPTS = 3; // after valid_until + margin, to learn what became of the order
const STORAGE_SETTLE_MS = 400; // what one tab stores reaches another only after a moment
const POLL_SALE_MS = 1_000;
const POLL_MAX_MS = 15_000;
const POLL_BUYER_MS = 10_000;
const ORDERS_SHOWN = 8;

const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const page = {
  buyer: UUID.test(query.get('user') ?? '') ? query.get('user').toLowerCase() : DEMO_BUYER,
  saleId: UUID.test(query.get('sale') ?? '') ? query.get('sale').toLowerCase() : null,
  sale: null,
  token: null, // in memory only
  busy: false, // an order is under way, here or in another tab
  pressedAt: -Infinity,
};

// ------------------------------------------------------------------------------ the server's clock

// The buyer's clock may be wrong by hours, so it is not asked. The `Date` of the last answer plus the time
// that passed since (a monotonic clock) is the service's time, up to about 2 s late: whole seconds, and the
// time on the way. Late is the safe side: `valid_until` is then judged to have passed too late, never too
// early. The database's clock has the last word (`order_expired`); MARGIN_MS is for its distance to this one.
const clock = {
  offset: null, // unknown until the first answer: until then nothing has passed
  learn(response) {
    const date = Date.parse(response.headers.get('Date') ?? '');
    if (!Number.isNaN(date)) this.offset = date - performance.now();
    else this.offset ??= Date.now() - performance.now(); // a proxy took the header away
  },
  now() {
    return performance.now() + this.offset;
  },
  isPast(time) {
    return this.offset !== null && this.now() > time;
  },
};

// ---------------------------------------------------------------------------------------- storage

/** localStorage, or this page's memory where the browser refuses it (then the page says so). */
const storage = {
  memory: new Map(),
  write(name, value) {
    try {
      localStorage.setItem(name, value);
    } catch {
      this.memory.set(name, value);
      notice('This browser keeps nothing for this page: leave it open until an order is answered.');
    }
  },
  read(name) {
    try {
      return localStorage.getItem(name) ?? this.memory.get(name) ?? null;
    } catch {
      return this.memory.get(name) ?? null;
    }
  },
  remove(name) {
    this.memory.delete(name);
    try {
      localStorage.removeItem(name);
    } catch {
      // nothing could have been stored there
    }
  },
  names(prefix) {
    let stored = [];
    try {
      stored = Object.keys(localStorage);
    } catch {
      // memory is all there is
    }
    return [...stored, ...this.memory.keys()].filter((name) => name.startsWith(prefix));
  },
};

const orderName = () => `flashdeal:order:${page.buyer}`;
const marksOf = (order) => `flashdeal:attempt:${order.key}:`;
const hasUndecided = (order) => storage.names(marksOf(order)).length > 0;

/** The order that is not finished yet: `{key, body, valid_until}`, body being the exact text that is sent. */
function pendingOrder() {
  try {
    const order = JSON.parse(storage.read(orderName()));
    const sound =
      typeof order?.key === 'string' && typeof order.body === 'string' && order.valid_until > 0;
    return sound ? order : null;
  } catch {
    return null;
  }
}

/** The buyer has decided: the only place where a key is made. */
function newOrder(sale) {
  const validUntil = Math.round(clock.now()) + VALID_MS;
  const body = {
    user_id: page.buyer,
    sale_id: sale.id,
    quantity: 1,
    valid_until: new Date(validUntil).toISOString(),
  };
  const order = { key: uuid(), body: JSON.stringify(body), valid_until: validUntil };
  storage.write(orderName(), JSON.stringify(order));
  return order;
}

function forget(order) {
  for (const name of storage.names(marksOf(order))) storage.remove(name);
  if (pendingOrder()?.key === order.key) storage.remove(orderName());
}

/** `crypto.randomUUID` exists on https and on this machine only; a plain http address needs the long way. */
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

// --------------------------------------------------------------------------------------- one order

function pressed() {
  if (page.busy || !canBuy()) return;
  page.pressedAt = performance.now();
  setBusy(true); // at once, before anything can wait
  const { sale } = page;
  oneTab(() => {
    const earlier = pendingOrder();
    if (earlier) showFinishing();
    else
      show(
        'sending',
        'Sending your order …',
        `One ${sale.name} for ${price(sale)}. Not known yet whether money was taken.`,
      );
    return earlier ?? newOrder(sale);
  });
}

/** After a reload. */
function resume() {
  if (page.busy) return;
  setBusy(true);
  oneTab(unfinished);
}

function unfinished() {
  const order = pendingOrder();
  if (order) showFinishing();
  return order;
}

/** Another tab has written an order: this one follows it, and finishes it should that tab go away. */
function follow() {
  if (page.busy) return;
  setBusy(true);
  oneTab(null);
}

/** Runs one order in one tab at a time; a tab that finds another at work waits, and makes nothing of its own. */
async function oneTab(choose) {
  try {
    while (!(choose && (await locked({ ifAvailable: true }, () => run(choose))))) {
      show(
        'elsewhere',
        'Another tab is placing an order.',
        'This tab sends nothing. That tab says whether money was taken.',
      );
      await locked({}, () => {}); // it has finished, or is gone
      await pause(STORAGE_SETTLE_MS);
      choose = unfinished;
    }
  } catch (error) {
    console.error(error);
    show(
      'unknown',
      'This page failed while it placed your order.',
      'Not known whether money was taken. Reload the page: it goes on with the same key.',
    );
    return; // still busy: only a reload may go on
  }
  Promise.allSettled([refreshSale(), refreshBuyer()]);
  await pause(Math.max(0, page.pressedAt + ONE_PRESS_MS - performance.now()));
  setBusy(false);
}

/** True when `work` ran; false when the lock was asked for `ifAvailable` and another tab has it. */
async function locked(options, work) {
  if (!navigator.locks) {
    await work();
    return true;
  }
  return navigator.locks.request(orderName(), options, async (lock) => {
    if (lock) await work();
    return lock !== null;
  });
}

async function run(choose) {
  const order = choose();
  if (!order) {
    show(
      'idle',
      'The other tab’s order is finished.',
      'Nothing was sent from this tab. Your orders below say what was bought.',
    );
    return;
  }
  if (navigator.locks) return settle(order);
  // Without locks two tabs may write at once: the order that was written last is the one that both send.
  await pause(STORAGE_SETTLE_MS);
  return settle(pendingOrder() ?? order);
}

/** Sends the order until it is finished, forgets it, and says how it ended. */
async function settle(order) {
  let late = 0;
  for (let attempt = 1; ; attempt++) {
    const mark = marksOf(order) + uuid();
    storage.write(mark, 'sent');
    const answer = await send(order);
    if (answer.over) storage.remove(mark);

    const undecided = hasUndecided(order);
    const passed = answer.code === 'order_expired' || clock.isPast(order.valid_until + MARGIN_MS);
    const say = ending(answer, undecided, passed);
    if (say) return finish(order, say);

    if (undecided && answer.signIn) {
      show(
        'signin',
        'Sign in to finish your order.',
        'An earlier attempt is unanswered: not known yet whether money was taken.',
      );
      await signedIn();
      continue;
    }
    if (passed && ++late >= LAST_ATTEMPTS) return finish(order, showNeverLearned);
    showAskingAgain(order, answer, undecided);
    await pause(waitBefore(attempt, answer));
  }
}

/** How the order ended, as the words to say; nothing while it is not finished. */
function ending(answer, undecided, passed) {
  if (answer.order) return () => showMade(answer);
  if (answer.charged === 'yes') return () => showMadeEarlier(answer);
  // Every attempt has its definite answer: it ended, unless the trouble is a passing one and there is time.
  if (!undecided) return passed || !answer.passing ? () => showRefused(answer) : null;
  // An earlier attempt may be under way: only after the time is over does a "no" speak for that one too, and
  // only a "no" that looked the key up (`never` also means: refused before that).
  return passed && answer.charged === 'no' && answer.retry !== 'never'
    ? () => showRefused(answer)
    : null;
}

function finish(order, say) {
  forget(order);
  say();
}

/** Exponential with jitter, never sooner than `Retry-After` says. */
function waitBefore(attempt, answer) {
  const backoff = Math.min(RETRY_FIRST_MS * 2 ** (attempt - 1), RETRY_MAX_MS);
  const asked = Math.min((answer.retryAfter || 0) * 1000, RETRY_AFTER_MAX_MS);
  return Math.max(backoff / 2, asked) + (Math.random() * backoff) / 2;
}

/**
 * One attempt. Gives `{order, replayed}` for a 201, else what the problem document says, and from that: `over`
 * (this attempt made nothing and never will), `passing` (a trouble of the moment: the same key again).
 */
async function send(order) {
  let response;
  let text;
  try {
    response = await call('POST', '/api/orders', { body: order.body, key: order.key });
    text = await response.text();
  } catch {
    return { charged: 'unknown', why: 'No answer came back.' };
  }
  const document = parsed(text);
  if (response.status === 201 && document.id) {
    return { order: document, replayed: response.headers.get('Idempotent-Replayed') === 'true' };
  }
  const { status } = response;
  const { code, charged, retry } = document;
  return {
    code,
    charged,
    retry,
    over: charged === 'no' || REFUSED_AT_THE_DOOR.has(code),
    passing: (status === 409 || status === 429 || status >= 500) && retry === 'same_key',
    signIn: status === 401 || status === 403,
    retryAfter: Number(response.headers.get('Retry-After')),
    orderId: document.order_id,
    why: inWords(document, status),
  };
}

function call(method, path, { body, key } = {}) {
  const headers = {};
  if (body) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  if (page.token) headers.Authorization = `Bearer ${page.token}`;
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  return fetch(path, { method, headers, body, signal, redirect: 'error', cache: 'no-store' }).then(
    (response) => {
      clock.learn(response);
      return response;
    },
  );
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

// ------------------------------------------------------------------------------------------- words

function inWords(problem, status) {
  const words = {
    out_of_stock: problem.stock > 0 ? `Only ${problem.stock} left.` : 'Sold out.',
    insufficient_balance: `Your balance of ${problem.balance} does not cover ${problem.total}.`,
    sale_not_open: 'The sale is not open.',
    purchase_limit_reached: `You have reached the limit of ${problem.limit} for each buyer.`,
    order_expired: 'The order reached the service too late.',
    user_not_found: 'The service does not know this buyer.',
    sale_not_found: 'The service does not know this sale.',
    unauthenticated: 'The service wants a valid token.',
    forbidden: 'This token may not buy for this buyer.',
    overloaded: 'The service is very busy.',
    rate_limited: 'The service is very busy.',
    concurrent_conflict: 'Too many orders at the same moment.',
    request_in_progress: 'The order is still being decided.',
    draining: 'The service is restarting.',
    database_unavailable: 'The service’s database is away for the moment.',
    outcome_unknown: 'The service could not see how the order ended.',
  };
  return (
    words[problem.code] ??
    problem.detail ??
    `The service answered ${status} without saying what happened.`
  );
}

function showFinishing() {
  show(
    'sending',
    'Finishing an earlier order …',
    'Not known yet whether money was taken. It is asked for again with the same key, which cannot buy twice.',
  );
}

function showMade({ order, replayed }) {
  const once = replayed
    ? ' An earlier attempt had already made this order: you were charged once.'
    : '';
  show(
    'made',
    'Bought.',
    `${order.total} ${order.currency} was taken from your wallet, ${order.balance_after} ${order.currency} is left.${once}`,
  );
}

function showMadeEarlier({ orderId }) {
  show(
    'made',
    'This order was made before.',
    `Money was taken once, for ${orderId ? `order ${orderId}` : 'the order below'}; nothing more was taken now.`,
  );
}

function showRefused({ why, signIn }) {
  if (signIn) element('signin').hidden = false;
  show('refused', 'Not bought. No money was taken.', why);
}

function showAskingAgain(order, { charged, why }, undecided) {
  order.certainAt ??= Date.now() + Math.max(0, order.valid_until + MARGIN_MS - clock.now());
  const known = !undecided
    ? 'No money was taken so far.'
    : charged === 'no'
      ? 'No money was taken so far, but an earlier attempt is unanswered.'
      : 'Not known yet whether money was taken.';
  show(
    'asking',
    'Asking again …',
    `${why} ${known} The same key is used, which cannot buy twice. Certain by ${timeOfDay(order.certainAt)}.`,
  );
}

function showNeverLearned() {
  show(
    'unknown',
    'The service does not answer.',
    'Not known whether money was taken: the order may have been made before it lapsed, and can no longer be made now. Look at your orders before you buy again.',
  );
}

function show(state, headline, detail) {
  element('status').dataset.state = state;
  setText('status-headline', headline);
  setText('status-detail', detail);
}

function notice(text) {
  setText('notice', text);
  element('notice').hidden = false;
}

/** Writes only what changed: a screen reader announces every write into the status. */
function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

const timeOfDay = (ms) =>
  new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

// ------------------------------------------------------------------------------------ what is shown

const price = (sale) => `${sale.unit_price} ${sale.currency}`;
const canBuy = () => page.sale?.status === 'live';

function setBusy(busy) {
  page.busy = busy;
  showButton();
  if (!busy && document.activeElement === document.body) element('buy').focus(); // a disabled button lost it
}

function showButton() {
  const button = element('buy');
  const words = { sold_out: 'Sold out', upcoming: 'Not open yet', ended: 'Ended' };
  button.disabled = page.busy || !canBuy();
  button.setAttribute('aria-busy', String(page.busy));
  setText(
    'buy',
    page.busy
      ? 'One moment …'
      : page.sale && !canBuy()
        ? (words[page.sale.status] ?? 'Closed')
        : 'Buy one',
  );
}

/**
 * The sale that `?sale=` names, else the first live one. Once shown it stays, also when it is sold out:
 * another item must never slip under the button.
 */
async function refreshSale() {
  const path = page.saleId ? `/api/sales/${page.saleId}` : '/api/sales?status=live&limit=1';
  const response = await call('GET', path);
  if (!response.ok && response.status !== 404) throw new Retry(response);
  const document = parsed(await response.text());
  const sale = response.ok ? (page.saleId ? document : document.items?.[0]) : undefined;
  page.saleId ??= sale?.id ?? null;
  page.sale = sale ?? null;
  showSale();
}

class Retry extends Error {
  constructor(response) {
    super(`answered ${response.status}`);
    this.seconds = Number(response.headers.get('Retry-After')) || 0;
  }
}

function showSale() {
  const { sale } = page;
  const states = {
    live: 'Live now',
    sold_out: 'Sold out',
    upcoming: 'Opens later',
    ended: 'Ended',
  };
  element('stock-row').hidden = !sale;
  if (sale) {
    setText('sale-state', states[sale.status] ?? sale.status);
    setText('sale-name', sale.name);
    setText('price', price(sale));
    setText('stock', `${sale.stock} of ${sale.stock_initial} left`);
    element('stock-bar').max = Math.max(sale.stock_initial, 1);
    element('stock-bar').value = sale.stock;
    element('sale-state').dataset.status = sale.status;
  } else {
    setText('sale-state', 'No sale is live');
    setText('sale-name', page.saleId ? 'This sale is not known.' : 'Nothing to buy right now.');
    setText('price', 'The page looks again by itself.');
    element('sale-state').dataset.status = 'none';
  }
  element('others').hidden = !sale || sale.status === 'live';
  showButton();
}

async function refreshBuyer() {
  const mine = `user_id=${page.buyer}&limit=${ORDERS_SHOWN}`;
  const [wallet, orders] = await Promise.all([
    call('GET', `/api/users/${page.buyer}/wallet`),
    call('GET', `/api/orders?${mine}`),
  ]);
  if (wallet.status === 401 || wallet.status === 403) {
    element('signin').hidden = false;
    setText(
      'orders-note',
      wallet.status === 401 ? 'Sign in to see your orders.' : 'This token is not this buyer’s.',
    );
    return;
  }
  if (wallet.status >= 429) throw new Retry(wallet);
  const money = parsed(await wallet.text());
  setText('balance', wallet.ok ? `${money.balance} ${money.currency}` : '–');
  setText(
    'buyer',
    wallet.ok
      ? `Buyer ${page.buyer}`
      : `The service does not know buyer ${page.buyer}. Name one with ?user=…`,
  );
  if (orders.ok) await showOrders(parsed(await orders.text()).items ?? []);
}

async function showOrders(orders) {
  setText('orders-note', orders.length === 0 ? 'None yet.' : '');
  element('orders-note').hidden = orders.length > 0;
  const shown = Array.from(element('orders').children, (each) => each.dataset.orderId).join();
  if (shown === orders.map((each) => each.id).join()) return;
  const names = await Promise.all(orders.map((each) => saleName(each.sale_id)));
  element('orders').replaceChildren(...orders.map((order, i) => orderLine(order, names[i])));
}

function orderLine(order, name) {
  const line = document.createElement('li');
  line.dataset.orderId = order.id;
  const what = document.createElement('span');
  what.textContent = order.quantity === 1 ? name : `${order.quantity} × ${name}`;
  const price = document.createElement('span');
  price.className = 'amount';
  price.textContent = `${order.total} ${order.currency}`;
  const when = document.createElement('time');
  when.dateTime = order.created_at;
  when.textContent = `${timeOfDay(Date.parse(order.created_at))} · ${order.id.slice(-12)}`;
  line.append(what, price, when);
  return line;
}

const saleNames = new Map();

async function saleName(id) {
  if (page.sale?.id === id) return page.sale.name;
  if (!saleNames.has(id)) {
    const response = await call('GET', `/api/sales/${id}`);
    saleNames.set(id, response.ok ? parsed(await response.text()).name : 'An earlier sale');
  }
  return saleNames.get(id);
}

/** Calls `refresh` again and again while the page is visible; slower when it fails. */
async function poll(refresh, everyMs) {
  for (let failures = 0; ;) {
    let asked = 0;
    if (document.visibilityState === 'visible') {
      try {
        await refresh();
        failures = 0;
      } catch (error) {
        failures++;
        asked = (error.seconds ?? 0) * 1000;
        element('sale-state').dataset.status = 'stale';
        setText('sale-state', 'No answer from the service; last seen:');
      }
    }
    await pause(Math.max(Math.min(everyMs * 2 ** failures, POLL_MAX_MS), asked));
  }
}

// ------------------------------------------------------------------------------------------ sign in

let tokenArrived = () => {};
const signedIn = () => {
  element('signin').hidden = false;
  return new Promise((resolve) => {
    tokenArrived = resolve;
  });
};

function useToken(event) {
  event.preventDefault();
  page.token = element('token').value.trim();
  element('token').value = '';
  element('signin').hidden = true;
  const { role, sub } = claims(page.token);
  if (role === 'buyer' && UUID.test(sub) && !page.busy && !query.has('user'))
    page.buyer = sub.toLowerCase();
  if (pendingOrder()) resume();
  tokenArrived();
  refreshBuyer().catch(() => {});
}

/** What a token says of itself, unchecked: only to show a buyer their own wallet. The service decides. */
function claims(token) {
  try {
    return JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
  } catch {
    return {};
  }
}

// -------------------------------------------------------------------------------------------- start

element('others').href = query.has('user') ? `/?user=${page.buyer}` : '/';
element('buy').addEventListener('click', pressed);
element('signin').addEventListener('submit', useToken);
addEventListener('storage', (event) => {
  if (navigator.locks && event.key === orderName() && event.newValue) follow();
});
poll(refreshSale, POLL_SALE_MS);
poll(refreshBuyer, POLL_BUYER_MS);
if (pendingOrder()) resume();
