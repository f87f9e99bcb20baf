/** The passes of a bundle's graphs, one sequence at a time: the twin of hwsearch/runtime/backend.py. */

import { LayerKeepers } from './decoding/keepers.mjs'
import { range } from './decoding/passes.mjs'
import { InputError } from './errors.mjs'

/** What an output's name begins with that is the input of the next pass. */
const NEXT = 'next_'

/** The state before the block, in models whose logits are shifted by one. */
const BEFORE = 'before'

/** State that graphs carry from pass to pass over a block. */
const [LOGP, CREDIT] = ['logp', 'credit']

/** Open the graphs of a bundle; see `Graphs` in ort.mjs. */
export async function openBackend(bundle, graphs) {
  const { files, name } = bundle
  const external = 'weights.bin' in files ? { 'weights.bin': files['weights.bin'] } : {}
  const refresh = await graphs.open(files['refresh.onnx'], external, `${name}refresh.onnx`)
  const isCached = bundle.manifest.passes !== 'full'
  const step = isCached ? await graphs.open(files['step.onnx'], external, `${name}step.onnx`) : null
  return new Backend(graphs, refresh, step, bundle)
}

/** Decodes with a bundle's two sessions. Call `begin` before each generation. */
export class Backend {
  constructor(graphs, refresh, step, { kept, manifest, decoding }) {
    Object.assign(this, { graphs, refreshGraph: refresh, stepGraph: step, kept, manifest })
    this.cached = refresh.outputNames.filter((name) => name === BEFORE || /^(key|value)_/.test(name))
    const fresh = new Set(this.cached.map((name) => NEXT + name))
    this.predictions = step?.outputNames.filter((name) => !fresh.has(name))
    this.isWindowed = refresh.inputNames.includes('positions')
    this.states = [LOGP, CREDIT].filter((name) => refresh.inputNames.includes(name))
    this.blockLength = decoding.block_length
    if (refresh.inputNames.includes('noise')) {
      throw new InputError('this bundle draws tokens by noise, which is not run here; export it with temperature 0')
    }
  }

  /** Forget the generation before. */
  begin() {
    this.keepers = new LayerKeepers(this.kept)
    this.state = { start: null, values: {} }
  }

  /** Give the sessions' memory back. */
  async release() {
    await this.refreshGraph.release()
    await this.stepGraph?.release()
  }

  /** A full pass over the tokens that are shown; it fills the cache. */
  async refresh({ start, scope }, tokens) {
    const feeds = { tokens: this.whole(tokens), start: this.scalar(start), ...this.carried(start) }
    if (this.isWindowed) feeds.positions = this.whole(scope?.positions ?? range(0, tokens.length), 1)
    const found = await this.refreshGraph.run(feeds)
    this.cache = Object.fromEntries(this.cached.map((name) => [name, found[name]]))
    this.past = new Map()
    const signals = this.kept.shares.map((_, layer) => found[`mass_${layer}`]?.data)
    if (this.stepGraph) this.keepers.see(tokens.length, signals, scope?.tail)
    return this.prediction(found)
  }

  /** Some rows against the cache. */
  async step(call, tokens) {
    if (!this.stepGraph) return this.refresh(call, tokens)
    const { start, stop, scope } = call
    const [first, last] = scope?.rows ?? [start, stop]
    if (scope?.store) {
      this.past = new Map()
      this.keepers.advance(tokens.length, scope.tail)
    }
    const feeds = {
      tokens: this.whole(tokens.slice(first, last)),
      start: this.scalar(this.isWindowed ? start - first : start),
      ...this.carried(start),
      ...this.outside(tokens.length, first, last),
    }
    if (this.isWindowed) {
      const shown = scope?.positions ?? range(0, tokens.length)
      feeds.positions = this.whole(shown.slice(first, last), 1)
    }
    const names = scope?.store ? this.stepGraph.outputNames : this.predictions
    const found = await this.stepGraph.run(feeds, names)
    if (scope?.store) this.store(found, first, last)
    return this.prediction(found)
  }

  /** Keys and values that layers keep outside first..last, chosen once between two refreshes. */
  outside(length, first, last) {
    const key = `${first}-${last}`
    if (!this.past.has(key)) {
      const past = BEFORE in this.cache ? { [BEFORE]: this.cache[BEFORE] } : {}
      this.kept.shares.forEach((_, layer) => {
        const places = this.keepers.choose(layer, length, first, last)
        for (const name of [`key_${layer}`, `value_${layer}`]) past[name] = this.taken(this.cache[name], places)
      })
      this.past.set(key, past)
    }
    return this.past.get(key)
  }

  /** New keys and values of a step's rows take their places. */
  store(found, first, last) {
    for (const [name, old] of Object.entries(this.cache)) {
      const fresh = found[NEXT + name]
      this.cache[name] = name === BEFORE ? fresh : this.placed(old, fresh, first, last)
    }
    this.past = new Map()
  }

  /** The state for a pass over the block at `start`; zeros where it is the first. */
  carried(start) {
    if (start !== this.state.start) this.state = { start, values: {} }
    const shape = [1, this.blockLength, this.vocabSize]
    return Object.fromEntries(
      this.states.map((name) => [name, this.state.values[name] ?? this.zeros(shape)]),
    )
  }

  /** What a pass predicts, its state kept; a divergence is infinite where no pass was before. */
  prediction(found) {
    const { token, confidence, entropy, divergence } = found
    const isFirst = !(LOGP in this.state.values)
    this.state.values = Object.fromEntries(this.states.map((name) => [name, found[NEXT + name]]))
    return {
      tokens: Array.from(token.data, Number),
      confidence: confidence.data,
      entropy: entropy?.data,
      divergence: divergence && isFirst ? divergence.data.map(() => Infinity) : divergence?.data,
    }
  }

  /** Tokens in the vocabulary, where graphs carry state: the last size of that. */
  get vocabSize() {
    const known = this.refreshGraph.inputMetadata.find(({ name }) => this.states.includes(name))
    return known?.shape.at(-1)
  }

  /** Keys or values ``[1, heads, places, size]`` of some places. */
  taken(tensor, places) {
    const [, heads, count, size] = tensor.dims
    const data = new Float32Array(heads * places.length * size)
    let at = 0
    for (let head = 0; head < heads; head++) {
      for (const place of places) {
        const from = (head * count + place) * size
        data.set(tensor.data.subarray(from, from + size), at)
        at += size
      }
    }
    return this.graphs.tensor('float32', data, [1, heads, places.length, size])
  }

  /** Cached keys or values with new ones at first..last, longer where these reach further. */
  placed(old, fresh, first, last) {
    const [, heads, count, size] = old.dims
    const [rows, length] = [last - first, Math.max(count, last)]
    const whole = length === count ? old : this.zeros([1, heads, length, size])
    for (let head = 0; head < heads; head++) {
      const at = head * length * size
      if (whole !== old) {
        whole.data.set(old.data.subarray(head * count * size, (head * count + first) * size), at)
      }
      whole.data.set(fresh.data.subarray(head * rows * size, (head + 1) * rows * size), at + first * size)
    }
    return whole
  }

  zeros(shape) {
    const size = shape.reduce((product, length) => product * length, 1)
    return this.graphs.tensor('float32', new Float32Array(size), shape)
  }

  /** Whole numbers as a tensor ``[1, length]``, or of one axis. */
  whole(values, axes = 2) {
    const shape = axes === 2 ? [1, values.length] : [values.length]
    return this.graphs.tensor('int64', BigInt64Array.from(values, BigInt), shape)
  }

  scalar(value) {
    return this.graphs.tensor('int64', BigInt64Array.of(BigInt(value)), [])
  }
}
