/**
 * Time bundles side by side while they answer the same questions, in Node or in a browser:
 *
 *   node bench.mjs BUNDLE... --questions FILE.jsonl [--rounds 3] [--threads 1] [--processor-time] > times.json
 *
 * FILE holds a line {"question": ...} each, with a "suffix" if it has one. Of each bundle the output has
 * milliseconds of every round and question, and of every answer its tokens and passes. A disturbed answer is outlived
 * by taking a median over the rounds of each question first.
 * --processor-time counts what this process has had of its processor, on one thread, where others share it.
 */

import { CLOCKS, randomOf, shuffle } from './clock.mjs'
import { InputError } from './errors.mjs'

/** Generations before the first that counts. */
const WARM_UP = 1

/**
 * Times of bundles that answer the same questions. At each question all take turns, in changing order, so that
 * drift and neighbours hit them alike.
 *
 * folders    their URLs
 * questions  objects with a question, and a suffix if they have one
 */
export async function bench(folders, questions, more = {}) {
  const { rounds = 3, clock = CLOCKS.wall, progress = () => {}, ...options } = more
  const models = []
  for (const folder of folders) models.push(await openModel(folder, questions, options))
  const [order, random] = [[...models], randomOf(0)]
  for (let round = 0; round < rounds; round++) {
    for (const model of models) model.samples_ms.push(questions.map(() => 0))
    for (const place of questions.keys()) {
      shuffle(order, random)
      for (const model of order) model.samples_ms[round][place] = await answered(model, place, clock)
    }
    progress(round + 1)
  }
  return models.map(({ engine, samples_ms, answers }) => ({ bundle: engine.bundle.name, samples_ms, answers }))
}

async function openModel(folder, questions, options) {
  const { openEngine } = await import('./engine.mjs')
  const engine = await openEngine(folder, options)
  const asked = questions.map(({ question, suffix }) => engine.given(question, suffix))
  const model = { engine, asked, samples_ms: [], answers: [] }
  for (let count = 0; count < WARM_UP; count++) await answered(model, 0, CLOCKS.wall)
  return model
}

/** Milliseconds of one answer, which is kept. */
async function answered({ engine, asked, answers }, place, clock) {
  const { prompt, suffix } = asked[place]
  const began = clock()
  const { tokens, passes } = await engine.generation(asked[place])
  const ms = clock() - began
  answers[place] = { prompt_length: prompt.length, suffix_length: suffix.length, tokens, passes }
  return ms
}

const OPTIONS = {
  questions: { type: 'string' },
  rounds: { type: 'string', default: '3' },
  threads: { type: 'string', default: '1' },
  'processor-time': { type: 'boolean', default: false },
}

function questionOf(line, index) {
  try {
    const { question, suffix } = JSON.parse(line)
    if (typeof question === 'string') return { question, suffix }
  } catch {
    // said below
  }
  throw new InputError(`line ${index + 1}: a line must be an object with a text "question"; got ${line}`)
}

/** The command of Node; a browser has neither of these modules. */
async function main({ parsed, countOf }) {
  const { pathToFileURL } = await import('node:url')
  const { readText } = await import('./files.mjs')
  const { values, positionals } = parsed(OPTIONS)
  if (!positionals.length || !values.questions) {
    throw new InputError('usage: node bench.mjs BUNDLE... --questions FILE.jsonl')
  }
  const lines = (await readText(pathToFileURL(values.questions))).split('\n').filter(Boolean)
  const folders = positionals.map((folder) => pathToFileURL(folder))
  const found = await bench(folders, lines.map(questionOf), {
    rounds: countOf(values, 'rounds'),
    threads: countOf(values, 'threads'),
    clock: values['processor-time'] ? CLOCKS.processor : CLOCKS.wall,
    progress: (round) => console.error(`round ${round} of ${values.rounds}`),
  })
  console.log(JSON.stringify(found))
}

if (globalThis.process?.argv[1]?.endsWith('bench.mjs')) {
  const node = await import('./command.mjs')
  await node.command(() => main(node))
}
