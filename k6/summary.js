// The end of a run on one screen, and in full as JSON.
//
// The screen reads the classic form of k6's summary (the default of 1.x and 2.x). Another form does not
// break a run: the exit code is k6's own, from the thresholds.

import { BASE_URL, CAN_AUDIT, MODE } from './lib.js';

/** One screen that a person reads; the whole of k6's numbers as JSON into the file that FLASHDEAL_SUMMARY names. */
export function summaryOf(title) {
  return (data) => {
    const out = { stdout: screen(title, data) };
    if (__ENV.FLASHDEAL_SUMMARY)
      out[__ENV.FLASHDEAL_SUMMARY] = `${JSON.stringify(data, null, 2)}\n`;
    return out;
  };
}

const SHOWN = [
  'orders_created',
  'orders_out_of_stock',
  'orders_refused',
  'orders_replayed',
  'answers_retried',
  'answers_unexpected',
  'http_reqs',
];

function screen(title, data) {
  const metrics = data.metrics;
  if (!metrics)
    return `\n  FlashDeal k6: ${title}: this k6 has another form of summary; its exit code decides.\n`;
  const lines = [];
  let failed = 0;
  for (const name of Object.keys(metrics).sort()) {
    for (const [rule, result] of Object.entries(metrics[name].thresholds || {})) {
      if (!result.ok) failed++;
      lines.push(
        `    ${result.ok ? 'ok  ' : 'FAIL'}  ${`${name} ${rule}`.padEnd(44)} ${mainValue(metrics[name])}`,
      );
    }
  }
  const took = (data.state.testRunDurationMs / 1000).toFixed(1);
  const head = [
    `  FlashDeal k6: ${title}: ${failed === 0 ? 'PASSED' : 'FAILED'}`,
    `  ${BASE_URL}, mode ${MODE}, ${took} s`,
    '',
  ];
  const counts = SHOWN.filter((name) => metrics[name]).map(
    (name) => `    ${name.padEnd(22)} ${String(metrics[name].values.count).padStart(9)}`,
  );
  const checks = failedChecks(data.root_group || {});
  const books = CAN_AUDIT ? [] : ['  (the books were not asked for: no admin token)'];
  return [
    '',
    ...head,
    ...counts,
    ...latency(metrics.order_duration),
    '',
    '  thresholds',
    ...lines,
    ...checks,
    ...books,
    '',
    '',
  ].join('\n');
}

const mainValue = ({ type, values }) =>
  type === 'rate'
    ? values.rate.toFixed(4)
    : type === 'trend'
      ? `p95 ${ms(values['p(95)'])}`
      : values.count;

const ms = (value) => `${value.toFixed(1)} ms`;

function latency(trend) {
  if (!trend || trend.values.med === undefined) return [];
  const v = trend.values;
  return [
    `    ${'order latency'.padEnd(22)} p50 ${ms(v.med)}, p95 ${ms(v['p(95)'])}, p99 ${ms(v['p(99)'])}, max ${ms(v.max)}`,
  ];
}

function failedChecks(group) {
  const own = (group.checks || [])
    .filter((each) => each.fails > 0)
    .map((each) => `    FAIL  ${each.name}: ${each.fails} of ${each.fails + each.passes}`);
  return own.concat(...(group.groups || []).map(failedChecks));
}
