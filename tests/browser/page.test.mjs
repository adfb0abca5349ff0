// The page at `/` under impatient fingers and a bad network: one press is one order, and the words are true.
//
// Needs a running service (FLASHDEAL_URL) and Debian's chromium. Mode jwt: FLASHDEAL_ADMIN_TOKEN makes users
// and sales, FLASHDEAL_TOKEN (or the admin's) is pasted into the page.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import * as flashdeal from './support.mjs';

const { open, ordersOf, status, stored } = flashdeal;
let browser;
let context;

before(async () => {
  browser = await flashdeal.launch();
});
after(() => browser?.close());
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());

const ORDERS = '**/api/orders';
const buy = (page) => page.getByTestId('buy');
const problem = (status, code, charged, retry, headers = {}) => ({
  status,
  headers,
  contentType: 'application/problem+json',
  body: JSON.stringify({
    type: `/problems/${code}`,
    title: code,
    status,
    detail: code,
    code,
    instance: 'test',
    charged,
    retry,
  }),
});

/** Plays these roles, one for each POST of an order, and lets all later ones through. */
async function play(page, ...roles) {
  let nth = 0;
  await page.route(ORDERS, (route) => {
    if (route.request().method() !== 'POST') return route.continue();
    const role = roles[nth++];
    return role ? role(route) : route.continue();
  });
}

const answered = (document) => (route) => route.fulfill(document);
const neverSent = (route) => route.abort();
const answerLost = async (route) => {
  await route.fetch(); // the service has decided
  await route.abort(); // and nobody hears of it
};

/** Of all attempts: the same key and the same bytes. */
function oneKey(seen, attempts) {
  assert.equal(seen.orders.length, attempts);
  for (const attempt of seen.orders) {
    assert.equal(attempt.key, seen.orders[0].key);
    assert.equal(attempt.body, seen.orders[0].body);
  }
}

/** Nothing left the origin, and nothing was complained of but the answers that a test meant to be bad. */
function clean(page, ...expected) {
  assert.deepEqual(page.seen.foreign, []);
  const allowed = [/status of 401/, ...expected]; // before the sign-in of mode jwt
  const errors = page.seen.errors.filter(
    (each) => !(flashdeal.PAGE_TOKEN ? allowed : expected).some((one) => one.test(each)),
  );
  assert.deepEqual(errors, []);
}

const bought = async (user, count) => assert.equal((await ordersOf(user)).length, count);

test('the page shows sale, stock, wallet and links, and keeps to its own origin', async () => {
  const who = await flashdeal.buyerAndSale({ stock: 5 });
  const page = await open(context, who);
  await page.getByTestId('balance').getByText('100.00').waitFor();
  assert.match(await page.getByTestId('stock').innerText(), /5 of 5/);
  assert.match(await page.getByTestId('price').innerText(), /10\.00/);
  assert.match(
    await page.getByTestId('status').innerText(),
    /No money is taken until you press Buy/,
  );
  assert.deepEqual(await stored(page), []);
  for (const href of ['/docs', '/metrics', '/openapi.yaml'])
    assert.equal(await page.locator(`nav a[href="${href}"]`).count(), 1);
  const policy =
    (await page.request.get(flashdeal.BASE_URL)).headers()['content-security-policy'] ?? '';
  assert.match(policy, /connect-src 'self'/);
  assert.doesNotMatch(policy, /unsafe/);
  clean(page);
});

test('the page fits 360 pixels', async () => {
  const page = await open(context, await flashdeal.buyerAndSale());
  await page.setViewportSize({ width: 360, height: 740 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360));
});

test('the demo buyer buys from the first live sale without any parameter', async (t) => {
  const known = await flashdeal.api('GET', `/api/users/${flashdeal.DEMO_BUYER}`);
  if (known.status !== 200) return t.skip('this database has no demo buyer');
  const page = await open(context, {});
  const earlier = (await ordersOf(flashdeal.DEMO_BUYER)).length;
  await buy(page).click();
  await page.locator('[data-testid=status]:is([data-state=made], [data-state=refused])').waitFor();
  const words = await page.getByTestId('status').innerText();
  const now = (await ordersOf(flashdeal.DEMO_BUYER)).length;
  assert.equal(now - earlier, words.startsWith('Bought') ? 1 : 0, words); // its money may be spent by now
});

test('a double click makes one order', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await buy(page).dblclick();
  assert.match(await status(page, 'made'), /10\.00 .* was taken .* 90\.00/);
  await bought(who.user, 1);
  oneKey(page.seen, 1);
  await page.getByTestId('balance').getByText('90.00').waitFor();
  await page.getByTestId('orders').getByText('Browser test lamp').waitFor();
  await page.getByTestId('stock').getByText('4 of 5').waitFor();
  assert.deepEqual(await stored(page), []);
  clean(page);
});

test('a double click whose first click was answered in between is still one press', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await buy(page).click();
  await status(page, 'made');
  assert.equal(await buy(page).isDisabled(), true);
  await page.evaluate(() => document.querySelector('[data-testid=buy]').click());
  await page.locator('[data-testid=buy]:enabled').waitFor();
  await bought(who.user, 1);
  oneKey(page.seen, 1);
});

test('five clicks in one task make one order, and the first disables the button at once', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  const disabled = await page.evaluate(() => {
    const button = document.querySelector('[data-testid=buy]');
    return Array.from({ length: 5 }, () => {
      button.click();
      button.dispatchEvent(new MouseEvent('click', { bubbles: true }));
      return button.disabled && button.getAttribute('aria-busy') === 'true';
    });
  });
  assert.deepEqual(disabled, [true, true, true, true, true]);
  await status(page, 'made');
  await bought(who.user, 1);
  oneKey(page.seen, 1);
});

test('a second press after the first was answered is a second order with a key of its own', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await buy(page).click();
  await status(page, 'made');
  await page.locator('[data-testid=buy]:enabled').click();
  await page.getByTestId('status').getByText('80.00').waitFor();
  await bought(who.user, 2);
  assert.notEqual(page.seen.orders[0].key, page.seen.orders[1].key);
});

test('an answer that is lost is asked for again with the same key: one order, charged once', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await play(page, answerLost, answerLost);
  await buy(page).click();
  assert.match(await status(page, 'asking'), /Not known yet whether money was taken/);
  assert.match(await status(page, 'made'), /charged once/);
  oneKey(page.seen, 3);
  await bought(who.user, 1);
  assert.deepEqual(await stored(page), []);
  clean(page, /ERR_FAILED/);
});

test('a reload while the answer is awaited goes on with the same key', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  let decided;
  const handled = new Promise((resolve) => {
    decided = resolve;
  });
  await play(page, async (route) => {
    await route.fetch();
    decided(); // and never an answer
  });
  await buy(page).click();
  await handled;
  assert.equal((await stored(page)).length, 2); // the order and the mark of its attempt
  await page.reload();
  await flashdeal.signIn(page);
  assert.match(await status(page, 'made'), /charged once/);
  oneKey(page.seen, flashdeal.PAGE_TOKEN ? 3 : 2); // in mode jwt one attempt before the sign-in
  await bought(who.user, 1);
  assert.deepEqual(await stored(page), []);
});

test('a reload while the service is away goes on with the same key when it is back', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await play(page, neverSent, neverSent, neverSent);
  await buy(page).click();
  await status(page, 'asking');
  await page.reload();
  await flashdeal.signIn(page);
  await status(page, 'made', 30_000);
  oneKey(page.seen, page.seen.orders.length);
  await bought(who.user, 1);
});

test('a refusal frees the key, says that no money was taken, and the next press has a new key', async () => {
  const who = await flashdeal.buyerAndSale({ balance: '1.00' });
  const page = await open(context, who);
  await buy(page).click();
  assert.match(await status(page, 'refused'), /No money was taken[^]*1\.00 does not cover 10\.00/);
  assert.deepEqual(await stored(page), []);
  await flashdeal.deposit(who.user, '50.00');
  await page.locator('[data-testid=buy]:enabled').click();
  await status(page, 'made');
  assert.notEqual(page.seen.orders[0].key, page.seen.orders[1].key);
  await bought(who.user, 1);
  clean(page, /status of 400/);
});

test('a refusal does not free the key while an earlier attempt is unanswered', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  const soldOut = answered(problem(400, 'out_of_stock', 'no', 'same_key'));
  await play(page, neverSent, soldOut);
  await buy(page).click();
  await page.getByTestId('status').getByText('an earlier attempt is unanswered').waitFor();
  assert.equal((await stored(page)).length, 2);
  assert.ok(await buy(page).isDisabled());
  await status(page, 'made');
  oneKey(page.seen, 3);
  await bought(who.user, 1);
});

test('when the time of the order is over, a refusal ends also what was unanswered', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await play(page, neverSent, answered(problem(400, 'order_expired', 'no', 'new_key')));
  await buy(page).click();
  assert.match(await status(page, 'refused'), /No money was taken/);
  assert.deepEqual(await stored(page), []);
  await bought(who.user, 0);
});

test('a shed attempt is over: asked again after Retry-After, and a refusal then frees the key', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await play(
    page,
    answered(problem(503, 'overloaded', 'unknown', 'same_key', { 'Retry-After': '2' })),
    answered(problem(400, 'out_of_stock', 'no', 'same_key')),
  );
  await buy(page).click();
  assert.match(await status(page, 'asking'), /No money was taken so far/);
  await status(page, 'refused');
  oneKey(page.seen, 2);
  assert.ok(page.seen.orders[1].at - page.seen.orders[0].at >= 2000);
  assert.deepEqual(await stored(page), []);
});

test('an answer without a problem document decides nothing, whatever its status', async () => {
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  const proxy = (status) =>
    answered({ status, contentType: 'text/html', body: '<h1>a proxy</h1>' });
  await play(page, proxy(502), proxy(404), proxy(201));
  await buy(page).click();
  await status(page, 'made', 20_000);
  oneKey(page.seen, 4);
  await bought(who.user, 1);
});

test('a key that made an order before is told as charged, and is given up', async () => {
  const page = await open(context, await flashdeal.buyerAndSale());
  await play(page, answered(problem(422, 'idempotency_key_reused', 'yes', 'new_key')));
  await buy(page).click();
  assert.match(await status(page, 'made'), /Money was taken once/);
  assert.deepEqual(await stored(page), []);
});

test('two tabs that press at once make one order', async () => {
  const who = await flashdeal.buyerAndSale();
  const tabs = await Promise.all([open(context, who), open(context, who)]);
  for (const tab of tabs) {
    await play(tab, async (route) => {
      await new Promise((resolve) => {
        setTimeout(resolve, 400);
      });
      await route.continue();
    });
  }
  const press = (tab) => tab.evaluate(() => document.querySelector('[data-testid=buy]').click());
  await Promise.all(tabs.map(press));
  await Promise.all(tabs.map((tab) => tab.locator('[data-testid=buy]:enabled').waitFor()));
  await bought(who.user, 1);
  const keys = new Set(tabs.flatMap((tab) => tab.seen.orders.map((each) => each.key)));
  assert.equal(keys.size, 1);
});

test('an order that one tab leaves behind is finished by the other', async () => {
  const who = await flashdeal.buyerAndSale();
  const first = await open(context, who);
  await play(first, ...Array(50).fill(neverSent));
  await buy(first).click();
  const second = await open(context, who, { ready: false });
  if (!flashdeal.PAGE_TOKEN) await status(second, 'elsewhere');
  await first.close();
  await status(second, 'made');
  assert.equal(second.seen.orders.at(-1).key, first.seen.orders[0].key);
  await bought(who.user, 1);
});

test('a wrong clock in the browser changes nothing: valid_until follows the service', async () => {
  await context.addInitScript(() => {
    const now = Date.now;
    Date.now = () => now() + 7_200_000;
  });
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await buy(page).click();
  await status(page, 'made');
  const left =
    Date.parse(JSON.parse(page.seen.orders[0].body).valid_until) - page.seen.orders[0].at;
  assert.ok(left > 55_000 && left < 62_000, `${left} ms`);
});

test('without locks and without randomUUID (a plain http address) one press is still one order', async () => {
  await context.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined });
    Object.defineProperty(Crypto.prototype, 'randomUUID', { value: undefined });
  });
  const who = await flashdeal.buyerAndSale();
  const tabs = await Promise.all([open(context, who), open(context, who)]);
  await Promise.all(
    tabs.map((tab) => tab.evaluate(() => document.querySelector('[data-testid=buy]').click())),
  );
  await Promise.all(tabs.map((tab) => status(tab, 'made')));
  await bought(who.user, 1);
  assert.match(
    tabs[0].seen.orders[0].key,
    /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
});

test('a browser that stores nothing is told so, and still buys once', async () => {
  await context.addInitScript(() => {
    Object.defineProperty(window, 'localStorage', {
      get: () => {
        throw new DOMException('refused', 'SecurityError');
      },
    });
  });
  const who = await flashdeal.buyerAndSale();
  const page = await open(context, who);
  await play(page, answerLost);
  await buy(page).dblclick();
  await page.getByText('This browser keeps nothing for this page').waitFor();
  await status(page, 'made');
  await bought(who.user, 1);
});

test('a sale that is sold out stays on the page and cannot be pressed', async () => {
  const who = await flashdeal.buyerAndSale({ stock: 1 });
  const page = await open(context, who);
  await buy(page).click();
  await status(page, 'made');
  await page.getByTestId('buy').getByText('Sold out').waitFor();
  assert.ok(await buy(page).isDisabled());
});

test('without a live sale the page says so', async () => {
  const { user } = await flashdeal.buyerAndSale();
  await context.route('**/api/sales?status=live*', answered({ json: { items: [] } }));
  const page = await open(context, { user }, { ready: false });
  await page.getByText('No sale is live').waitFor();
  assert.ok(await buy(page).isDisabled());
});

test('a token is kept in memory only', async (t) => {
  if (!flashdeal.PAGE_TOKEN) return t.skip('mode open');
  const page = await open(context, await flashdeal.buyerAndSale());
  await buy(page).click();
  await status(page, 'made');
  const kept = await page.evaluate(() =>
    JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
  );
  assert.ok(!kept.includes(flashdeal.PAGE_TOKEN));
});
