// The end of a run on one screen, and in full as JSON.
//
// The screen reads the classic form of k6's summary (the default of 1.x and 2.x). Another form does not
// break a run: the exit code is k6's own, from the thresholds.

import { BASE_URL, CAN_AUDIT, MODE } from './lib.js';

/**
 * One screen that a person reads; the whole of k6's numbers as JSON into the file that FLASHDEAL_SUMMARY names.
 * `more(metrics)` gives the lines that only this script has.
 */
export function summaryOf(title, more = () => []) {
  return (data) => {
    const out = { stdout: screen(title, data, more) };
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
  'orders_shed',
  'orders_rate_limited',
  'sale_reads',
  'answers_retried',
  'answers_unexpected',
  'http_reqs',
  'dropped_iterations',
];

function screen(title, data, more) {
  const metrics = data.metrics;
  if (!metrics)
    return `\n  FlashDeal k6: ${title}: this k6 has another form of summary; its exit code decides.\n`;
  const lines = [];
  let failed = 0;
  for (const name of Object.keys(metrics).sort()) {
    for (const [rule, result] of Object.entries(metrics[name].thresholds || {})) {
      if (!result.ok) failed++;
      lines.push(
        `    ${result.ok ? 'ok  ' : 'FAIL'}  ${`${name} ${rule}`.padEnd(54)} ${mainValue(metrics[name], rule)}`,
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
    ...latency('order latency', metrics.order_duration),
    ...more(metrics),
    '',
    '  thresholds',
    ...lines,
    ...checks,
    ...books,
    '',
    '',
  ].join('\n');
}

/** The value that the rule is about. */
function mainValue({ type, values }, rule) {
  if (type === 'rate') return values.rate.toFixed(4);
  if (type === 'counter') return values.count;
  if (type === 'gauge') return values.value.toFixed(2);
  const [statistic] = Object.keys(values).filter((each) => rule.startsWith(each));
  return statistic ? `${statistic} ${ms(values[statistic])}` : '';
}

const ms = (value) => `${value.toFixed(1)} ms`;

/** Half and tails of one trend; nothing when it has no sample. */
export function latency(label, trend) {
  if (!trend || !trend.values.max) return [];
  const v = trend.values;
  return [
    `    ${label.padEnd(22)} p50 ${ms(v.med)}, p95 ${ms(v['p(95)'])}, p99 ${ms(v['p(99)'])}, max ${ms(v.max)}`,
  ];
}

function failedChecks(group) {
  const own = (group.checks || [])
    .filter((each) => each.fails > 0)
    .map((each) => `    FAIL  ${each.name}: ${each.fails} of ${each.fails + each.passes}`);
  return own.concat(...(group.groups || []).map(failedChecks));
}
