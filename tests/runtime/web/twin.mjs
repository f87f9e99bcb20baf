/** Cases from standard input run by the JavaScript: node twin.mjs KIND < cases.json. Needs no packages. */

import { readFileSync } from 'node:fs'

const WEB = new URL('../../../hwsearch/runtime/web/', import.meta.url)
const { commit } = await import(new URL('decoding/commit.mjs', WEB))
const { PositionKeeper } = await import(new URL('decoding/keepers.mjs', WEB))
const { decodingOf, quotasOf, refreshesOf, sharesOf } = await import(new URL('decoding/schedule.mjs', WEB))
const { generation } = await import(new URL('decoding/sampler.mjs', WEB))

const KINDS = {
  policies: ({ policy, candidates }) => candidates.map((one) => commit(policy, one)),
  keepers({ kept, layer, events }) {
    const keeper = new PositionKeeper(kept, layer)
    return events.map(({ signal, length, start, stop, tail }) => {
      if (signal === null) keeper.advance(length, tail)
      else keeper.see(length, Float32Array.from(signal), tail)
      return keeper.choose(length, start, stop)
    })
  },
  schedules(written) {
    const decoding = decodingOf(written)
    return { quotas: quotasOf(decoding), shares: sharesOf(decoding), refreshes: refreshesOf(decoding) }
  },
  async generations({ decoding, given, mask, ends, predictions }) {
    const asked = []
    const answer = (kind) => async (call, tokens) => {
      asked.push([kind, call.start, call.stop, call.scope, [...tokens]])
      const { confidence, entropy, divergence, tokens: found } = predictions[asked.length - 1]
      return { tokens: found, confidence, entropy, divergence }
    }
    const backend = { begin() {}, refresh: answer('refresh'), step: answer('step') }
    const found = await generation(backend, given, decodingOf(decoding), mask, new Set(ends))
    return { ...found, asked }
  },
}

const found = []
for (const one of JSON.parse(readFileSync(0, 'utf8'))) found.push(await KINDS[process.argv[2]](one))
console.log(JSON.stringify(found))
