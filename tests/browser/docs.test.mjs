// Swagger UI at /docs: a stranger opens placeOrder, presses "Try it out" and Execute, and owns an item;
// a second Execute shows the replay.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as flashdeal from './support.mjs';

let browser;
before(async () => {
  browser = await flashdeal.launch();
});
after(() => browser?.close());

test('Execute on placeOrder buys as it stands, and a second Execute shows the replay', async (t) => {
  const known = await flashdeal.api('GET', `/api/users/${flashdeal.DEMO_BUYER}`);
  if (known.status !== 200) return t.skip('this database has no demo buyer');
  const page = await browser.newPage();
  const seen = flashdeal.watch(page);
  await page.goto(`${flashdeal.BASE_URL}/docs`);
  if (flashdeal.PAGE_TOKEN) await authorize(page);

  const operation = page.locator('.opblock[id$="placeOrder"]');
  await operation.locator('.opblock-summary-control').first().click();
  const tryIt = operation.getByRole('button', { name: 'Try it out' });
  await operation.locator('.try-out').waitFor();
  if (await tryIt.isVisible()) await tryIt.click(); // already open where the service says tryItOutEnabled
  const first = await execute(page, operation);
  const second = await execute(page, operation);

  assert.equal(first.status(), 201, await first.text());
  assert.equal(second.status(), 201);
  assert.equal(second.headers()['idempotent-replayed'], 'true');
  assert.equal(await second.text(), await first.text());
  await operation.locator('.live-responses-table').getByText('idempotent-replayed').waitFor();
  assert.deepEqual(seen.foreign, []);
  assert.deepEqual(seen.errors, []);
});

async function execute(page, operation) {
  const answer = page.waitForResponse(
    (each) => each.url().endsWith('/api/orders') && each.request().method() === 'POST',
  );
  await operation.getByRole('button', { name: 'Execute' }).click();
  return answer;
}

async function authorize(page) {
  await page.locator('.auth-wrapper .authorize').first().click();
  await page.locator('.auth-container input').fill(flashdeal.PAGE_TOKEN);
  await page.locator('.auth-btn-wrapper .authorize').click();
  await page.locator('.auth-btn-wrapper .btn-done').click();
}

test('Swagger UI keeps a token in memory only', async (t) => {
  if (!flashdeal.PAGE_TOKEN) return t.skip('mode open');
  const page = await browser.newPage();
  await page.goto(`${flashdeal.BASE_URL}/docs`);
  await authorize(page);
  const kept = await page.evaluate(() =>
    JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
  );
  assert.ok(!kept.includes(flashdeal.PAGE_TOKEN.split('.')[1]), kept);
  await page.reload();
  await page.locator('.auth-wrapper .authorize.unlocked').first().waitFor();
  await page.close();
});
