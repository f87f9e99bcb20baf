/** Graphs run once on inputs: node graphs.mjs WEB CASES.json. Prints each's first output, or why it does not open. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [web, cases] = process.argv.slice(2)
const { Graphs } = await import(pathToFileURL(join(web, 'ort.mjs')))
const KINDS = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array }
const graphs = await Graphs.load()
const found = []
for (const { graph, inputs } of JSON.parse(readFileSync(cases, 'utf8'))) {
  try {
    const session = await graphs.open(new Uint8Array(readFileSync(graph)))
    const feeds = Object.entries(inputs).map(([name, { type, values, shape }]) => {
      return [name, graphs.tensor(type, KINDS[type].from(values), shape)]
    })
    const outputs = await session.run(Object.fromEntries(feeds))
    found.push(Array.from(outputs[session.outputNames[0]].data))
  } catch (error) {
    found.push(error.message)
  }
}
console.log(JSON.stringify(found))
