/** What a kit brings back: the file that `hwsearch profile --import` reads. */

import { sha256Of } from '../files.mjs'

const FIRST_LINE = '# hwsearch kit results, version 2'

/**
 * The text of results.csv.
 *
 * kit    the content of kit.json
 * rows   [operator, session, sample, microseconds] of each sample, in order
 * facts  what machine this is
 * run    { sessions, rounds, elapsedSeconds }
 */
export function resultsText(kit, rows, facts, { sessions, rounds, elapsedSeconds }) {
  const head = {
    runtime: kit.runtime,
    ...facts,
    unit: 'us',
    kit: kit.kit,
    operators: kit.operators.length,
    sessions,
    rounds,
    elapsed_s: elapsedSeconds.toFixed(3),
    sum_us: rows.reduce((total, row) => total + row[3], 0).toFixed(3),
  }
  if (kit.whole) head.whole = JSON.stringify(kit.whole)
  const top = [FIRST_LINE, ...Object.entries(head).map(([name, value]) => `# ${name}: ${value}`)]
  const lines = [[...kit.columns, 'session', 'sample', 'sample_us'].join(',')]
  for (const [index, session, sample, micro] of rows) {
    const key = kit.columns.map((column) => kit.operators[index].key[column])
    lines.push([...key, session, sample, micro].join(','))
  }
  const digest = sha256Of([...top, ...lines].join('\n'))
  return `${[...top, `# sha256: ${digest}`, ...lines].join('\n')}\n`
}
