/**
 * Time bundles side by side while they answer the same questions, in Node or in a browser:
 *
 *   node bench.mjs BUNDLE... --questions FILE.jsonl [--rounds 3] [--threads 1] > times.json
 *
 * FILE holds a line {"question": ...} each, with a "suffix" if it has one. Of each bundle the output has
 * milliseconds a generation, a sample a round, and of every answer its tokens and passes.
 */

import { interleave } from './clock.mjs'
import { openEngine } from './engine.mjs'
import { command, InputError } from './errors.mjs'

/**
 * Times of bundles that answer the same questions, interleaved.
 *
 * folders    their URLs
 * questions  objects with a question, and a suffix if they have one
 */
export async function bench(folders, questions, { rounds = 3, progress, ...options } = {}) {
  const engines = []
  for (const folder of folders) engines.push(await openEngine(folder, options))
  const asked = engines.map((engine) => questions.map(({ question, suffix }) => engine.given(question, suffix)))
  const answers = engines.map(() => [])
  const runs = engines.map((engine, index) => async () => {
    answers[index] = []
    for (const given of asked[index]) answers[index].push(await engine.generation(given))
  })
  const samples = await interleave(runs, rounds, { progress })
  return engines.map((engine, index) => ({
    bundle: engine.bundle.name,
    samples_ms: samples[index].map((micro) => micro / 1e3 / questions.length),
    answers: answers[index].map(({ tokens, passes }, number) => ({
      prompt_length: asked[index][number].prompt.length,
      suffix_length: asked[index][number].suffix.length,
      tokens,
      passes,
    })),
  }))
}

async function main() {
  const { readFile } = await import('node:fs/promises')
  const { pathToFileURL } = await import('node:url')
  const { parseArgs } = await import('node:util')
  const { values, positionals } = parseArgs({
    options: {
      questions: { type: 'string' },
      rounds: { type: 'string', default: '3' },
      threads: { type: 'string', default: '1' },
    },
    allowPositionals: true,
  })
  if (!positionals.length || !values.questions) {
    throw new InputError('usage: node bench.mjs BUNDLE... --questions FILE.jsonl')
  }
  const lines = (await readFile(values.questions, 'utf8')).split('\n').filter(Boolean)
  const folders = positionals.map((folder) => pathToFileURL(folder))
  const found = await bench(folders, lines.map((line) => JSON.parse(line)), {
    rounds: Number(values.rounds),
    threads: Number(values.threads),
    progress: (round) => console.error(`round ${round} of ${values.rounds}`),
  })
  console.log(JSON.stringify(found))
}

if (globalThis.process?.argv[1]?.endsWith('bench.mjs')) await command(main)
