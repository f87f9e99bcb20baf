/**
 * Time the graphs of this folder in Node 20 or later:
 *
 *   npm install
 *   node measure.mjs [--threads 1] [--rounds 10] [--sessions 3] [--processor-time] [-o results.csv]
 *
 * --processor-time counts what this process has had of its processor, on one thread, where others share it.
 * In a browser: node serve.mjs, and open the page that it names. Then bring the results back:
 * hwsearch profile --import results.csv --device NAME
 */

import { writeFile } from 'node:fs/promises'
import os from 'node:os'

import { CLOCKS } from './clock.mjs'
import { command, countOf, parsed } from './command.mjs'
import { InputError } from './errors.mjs'

const OPTIONS = {
  threads: { type: 'string', default: '1' },
  rounds: { type: 'string', default: '10' },
  sessions: { type: 'string', default: '3' },
  'processor-time': { type: 'boolean', default: false },
  out: { type: 'string', short: 'o', default: 'results.csv' },
}

await command(async () => {
  const { values } = parsed(OPTIONS)
  const { timeKit } = await import('./kit/timing.mjs')
  const isProcessors = values['processor-time']
  if (isProcessors && values.threads !== '1') {
    throw new InputError(`--processor-time adds up all threads, so it is for --threads 1; got ${values.threads}`)
  }
  const facts = {
    processor: os.cpus()[0]?.model.trim() || os.machine(),
    cores: os.cpus().length,
    system: `${os.type()} ${os.machine()}`,
    engine: `node ${process.versions.node}`,
    ...(isProcessors && { clock: 'processor time' }),
  }
  const text = await timeKit(new URL('.', import.meta.url), facts, {
    threads: countOf(values, 'threads'),
    clock: isProcessors ? CLOCKS.processor : CLOCKS.wall,
    rounds: countOf(values, 'rounds'),
    sessions: countOf(values, 'sessions'),
    progress: (told) => console.error(told),
  })
  await writeFile(values.out, text)
  console.error(`${values.out}: bring it back and: hwsearch profile --import ${values.out} --device NAME`)
})
