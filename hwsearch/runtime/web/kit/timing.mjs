/** Time the graphs of a kit: the twin of hwsearch/latency/kit/script.py, in Node and in a browser alike. */

import { openOperator } from './operators.mjs'
import { resultsText } from './results.mjs'
import { CLOCKS, interleave } from '../clock.mjs'
import { readText } from '../files.mjs'
import { Graphs } from '../ort.mjs'

/**
 * The text of results.csv of a kit.
 *
 * folder    the URL of the kit
 * facts     what machine this is: processor, system, engine
 * provider  wasm or webgpu
 * threads   threads of one operator
 * clock     one of CLOCKS
 * progress  told how far it is, in words
 */
export async function timeKit(folder, facts, options = {}) {
  const { provider = 'wasm', threads = 1, rounds = 10, sessions = 3 } = options
  const { clock = CLOCKS.wall, progress = () => {} } = options
  const kit = JSON.parse(await readText(new URL('kit.json', folder)))
  const graphs = await Graphs.load({ provider, threads })
  const batches = [...new Set(kit.operators.map(({ batch }) => batch))].sort((a, b) => a - b)
  const began = performance.now()
  const rows = []
  for (let session = 0; session < sessions; session++) {
    for (const batch of batches) {
      const told = `session ${session + 1} of ${sessions}, batch ${batch + 1} of ${batches.length}`
      progress(told)
      rows.push(...(await timeBatch(kit, batch, folder, graphs, { session, rounds, clock })))
    }
  }
  rows.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
  const elapsedSeconds = (performance.now() - began) / 1e3
  const told = { ...facts, provider, onnxruntime: graphs.version, threads, date: new Date().toISOString().slice(0, 10) }
  return resultsText(kit, rows, told, { sessions, rounds, elapsedSeconds })
}

/** Samples of a batch as [operator, session, sample, microseconds]. */
async function timeBatch(kit, batch, folder, graphs, { session, rounds, clock }) {
  const chosen = [...kit.operators.keys()].filter((index) => kit.operators[index].batch === batch)
  const opened = []
  for (const index of chosen) opened.push(await openOperator(kit.operators[index], folder, graphs))
  const samples = await interleave(opened.map(({ run }) => run), rounds, { seed: session, clock })
  for (const { release } of opened) await release()
  return chosen.flatMap((operator, place) =>
    samples[place].map((micro, sample) => {
      const each = micro / kit.operators[operator].copies
      return [operator, session, sample, Number(each.toFixed(3))]
    }),
  )
}
