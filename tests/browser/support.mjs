// What the browser tests share: the service under test, a Chromium, and a page that is watched for errors
// and for requests that leave its origin.

import { chromium } from 'playwright-core';
import { randomUUID } from 'node:crypto';

export const BASE_URL = (process.env.FLASHDEAL_URL ?? 'http://127.0.0.1:3000').replace(/\/+$/, '');
const ADMIN_TOKEN = process.env.FLASHDEAL_ADMIN_TOKEN ?? '';
export const PAGE_TOKEN = process.env.FLASHDEAL_TOKEN || ADMIN_TOKEN; // mode jwt: pasted into the page

export const DEMO_BUYER = '0190a000-0000-7000-8000-000000000001';

/** One call to the API as an admin; `{status, headers, body}`. */
export async function api(method, path, body, key) {
  const headers = {};
  if (body) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  if (ADMIN_TOKEN) headers.Authorization = `Bearer ${ADMIN_TOKEN}`;
  const response = await fetch(BASE_URL + path, {
    method,
    headers,
    body: body && JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

async function made(path, body) {
  const answer = await api('POST', path, body, randomUUID());
  if (answer.status !== 201)
    throw new Error(`POST ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
}

/** A buyer and a sale of the test's own; the sale ends by itself within the hour. */
export async function buyerAndSale({ balance = '100.00', stock = 5, unit_price = '10.00' } = {}) {
  const ends_at = new Date(Date.now() + 3_600_000).toISOString();
  const user = await made('/api/users', { name: 'Browser test', opening_balance: balance });
  const sale = await made('/api/sales', { name: 'Browser test lamp', unit_price, stock, ends_at });
  return { user: user.id, sale: sale.id };
}

export const deposit = (user, amount) => made(`/api/users/${user}/wallet/deposits`, { amount });

export async function ordersOf(user) {
  return (await api('GET', `/api/orders?user_id=${user}&limit=200`)).body.items;
}

/** Debian's Chromium. The flags keep it from looking for hosts that a closed network does not have. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Everything a page must not do, written down while it lives. */
export function watch(page) {
  const seen = { errors: [], foreign: [], orders: [] };
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      seen.errors.push(message.text());
  });
  page.on('pageerror', (error) => seen.errors.push(String(error)));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (!['data:', 'blob:'].includes(url.protocol) && url.origin !== new URL(BASE_URL).origin)
      seen.foreign.push(request.url());
    if (request.method() === 'POST' && url.pathname === '/api/orders') {
      seen.orders.push({
        key: request.headers()['idempotency-key'],
        body: request.postData(),
        at: Date.now(),
      });
    }
  });
  return seen;
}

/** Opens the page for a buyer and a sale; in mode jwt signs in. Ready to buy unless `ready` is false. */
export async function open(context, { user, sale }, { ready = true } = {}) {
  const page = await context.newPage();
  page.seen = watch(page);
  const query = new URLSearchParams({ ...(user && { user }), ...(sale && { sale }) });
  await page.goto(`${BASE_URL}/?${query}`);
  await signIn(page);
  if (ready) await page.locator('[data-testid=buy]:enabled').waitFor();
  return page;
}

export async function signIn(page) {
  if (!PAGE_TOKEN) return;
  await page.getByTestId('token').fill(PAGE_TOKEN);
  await page.getByTestId('use-token').click();
}

/** Waits until the status is in this state and gives its words. */
export async function status(page, state, timeout = 15_000) {
  await page.locator(`[data-testid=status][data-state=${state}]`).waitFor({ timeout });
  return page.getByTestId('status').innerText();
}

/** What the page keeps: the unfinished order and the marks of its attempts. */
export const stored = (page) =>
  page.evaluate(() => Object.keys(localStorage).filter((name) => name.startsWith('flashdeal:')));
