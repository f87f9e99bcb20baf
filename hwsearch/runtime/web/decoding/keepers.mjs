/** Which cached positions each layer keeps: the twin of hwsearch/decoding/cache.py, kept.py and rules.py. */

import { descending } from './commit.mjs'
import { range } from './passes.mjs'
import { InputError } from '../errors.mjs'

/** Share of the positions that count as sinks of one pass. */
const TOP_SHARE = 0.5

/** Of the soft sink score: standard deviations above the mean at which it is 1/2, and its steepness. */
const [SOFT_K, SOFT_ALPHA] = [2, 5]

/** First positions of a sequence, which `ar-preserve` always keeps. */
const FIRST = 4

/** Neighbours whose best score counts for a position under `mean-query`. */
const POOL = 3

/** Scores of positions by rule. `random` draws them by numpy's generator, and is not run here. */
const RULES = {
  'keep-stable': ({ history }) => shares(history.mass).map((share, place) => history.hits[place] + share),
  'drop-transient': ({ history }) =>
    shares(history.mass).map((share, place) => (1 - transience(history, place)) * share),
  mass: ({ history }) => shares(history.mass),
  'mean-query': ({ signal }, start, stop) => pooled(signal, start, stop),
  'ar-preserve': ({ history }, start, stop, count) => preserving(history.mass, start, stop, count),
  recent: ({ length }, start, stop) => recency(length, start, stop),
}

/** Rules that look at attention mass. */
const MASS_RULES = ['keep-stable', 'drop-transient', 'mass', 'ar-preserve']

/**
 * The layers of a bundle that drop cached positions, over one generation.
 *
 * kept
 *   shares     for each layer the share of cached positions it keeps; 1 keeps all, always
 *   policy     the rule, and how the shares change within a generation
 *   refreshes  refreshes of a whole generation
 *   scores     calibrated beforehand, for a policy that is not running
 */
export class LayerKeepers {
  constructor(kept) {
    const { shares, policy } = kept
    const pruned = range(0, shares.length).filter((layer) => shares[layer] < 1)
    if (pruned.length && !Object.hasOwn(RULES, policy.rule)) {
      throw new InputError(`cache rule '${policy.rule}' is not run here; known: ${Object.keys(RULES).join(', ')}`)
    }
    this.keepers = new Map(pruned.map((layer) => [layer, new PositionKeeper(kept, layer)]))
  }

  /** Count one refresh; `signals` are by layer, where the rule looks at any. */
  see(length, signals, tail = 1) {
    for (const [layer, keeper] of this.keepers) keeper.see(length, signals[layer], tail)
  }

  /** Count a block that began without a refresh. */
  advance(length, tail = 1) {
    for (const keeper of this.keepers.values()) keeper.advance(length, tail)
  }

  /** Positions outside start..stop that a layer keeps, ascending. */
  choose(layer, length, start, stop) {
    if (this.keepers.has(layer)) return this.keepers.get(layer).choose(length, start, stop)
    return [...range(0, start), ...range(stop, length)]
  }
}

/** Which positions one layer keeps, over one generation. */
export class PositionKeeper {
  constructor(kept, layer) {
    Object.assign(this, { kept, layer, begun: 0, history: null, signal: null })
    this.looksAtMass = kept.policy.running && MASS_RULES.includes(kept.policy.rule)
  }

  see(length, signal, tail = 1) {
    const before = resized(this.history ?? blank(length), length, tail)
    this.history = this.looksAtMass ? seen(before, signal) : { ...before, passes: before.passes + 1 }
    this.signal = signal
    this.begun += 1
  }

  advance(length, tail = 1) {
    this.history = resized(this.history, length, tail)
    this.begun += 1
  }

  choose(length, start, stop) {
    const outside = length - (stop - start)
    const count = Math.min(outside, keptCount(this.share(), outside))
    const score = this.scores(length, start, stop, count)
    score.fill(-Infinity, start, stop)
    return bestPositions(score, count)
  }

  /** The share that the layer keeps by now. */
  share() {
    const { shares, policy, refreshes } = this.kept
    const unwritten = 1 - Math.min(this.begun - 1, refreshes - 1) / refreshes
    const scale = unwritten > policy.boundary ? policy.early_scale : policy.late_scale
    return Math.min(1, scale * shares[this.layer])
  }

  scores(length, start, stop, count) {
    const { policy, scores } = this.kept
    if (!policy.running) return calibrated(scores, this.layer, length)
    return RULES[policy.rule]({ history: this.history, signal: this.signal, length }, start, stop, count)
  }
}

/** Positions that a layer keeps of `outside` positions outside the block; at least one. */
function keptCount(share, outside) {
  return Math.max(1, Math.ceil(share * outside - 1e-9))
}

/** The `count` positions of highest score, ascending; ties go to the earlier. */
function bestPositions(score, count) {
  return descending(score)
    .slice(0, count)
    .sort((a, b) => a - b)
}

/** What a layer has seen so far, for each position: hits, mass, soft scores and their squares, summed. */
function blank(length) {
  const zeros = () => new Array(length).fill(0)
  return { hits: zeros(), mass: zeros(), soft: zeros(), squared: zeros(), passes: 0 }
}

/** The history after one more pass with some attention mass. */
function seen(history, mass) {
  const values = Array.from(mass)
  const top = new Set(descending(values).slice(0, Math.max(1, roundHalfEven(TOP_SHARE * values.length))))
  const soft = softScores(values)
  return {
    hits: history.hits.map((hits, place) => hits + (top.has(place) ? 1 : 0)),
    mass: history.mass.map((sum, place) => sum + values[place]),
    soft: history.soft.map((sum, place) => sum + soft[place]),
    squared: history.squared.map((sum, place) => sum + soft[place] ** 2),
    passes: history.passes + 1,
  }
}

/** The history of a sequence that shows more positions, or fewer; the last `tail` stay the last. */
function resized(history, length, tail) {
  const old = history.hits.length
  if (old === length) return history
  const shared = Math.min(old, length) - tail
  const fit = (values) => [
    ...values.slice(0, shared),
    ...new Array(length - shared - tail).fill(0),
    ...values.slice(old - tail),
  ]
  const { hits, mass, soft, squared, passes } = history
  return { hits: fit(hits), mass: fit(mass), soft: fit(soft), squared: fit(squared), passes }
}

/** Soft sink scores in 0..1 (arXiv 2602.17664): how far a position's mass stands out. */
function softScores(mass) {
  const mean = sum(mass) / mass.length
  const deviation = Math.sqrt(sum(mass.map((value) => (value - mean) ** 2)) / mass.length)
  const edge = mean + SOFT_K * deviation
  return mass.map((value) => 0.5 * (1 + Math.tanh(0.5 * SOFT_ALPHA * (value - edge))))
}

/** How much a position's sinkness comes and goes: four times its variance over passes. */
function transience({ soft, squared, passes }, place) {
  const count = Math.max(1, passes)
  const variance = squared[place] / count - (soft[place] / count) ** 2
  return Math.min(1, Math.max(0, 4 * variance))
}

function shares(mass) {
  const total = sum(mass) + 1e-30
  return mass.map((value) => value / total)
}

/** Nearest to the block first, and what is before it first at equal distance. */
function recency(length, start, stop) {
  return range(0, length).map((place) => -(place < start ? start - place : place - stop + 1.5))
}

/** The first tokens, then the strongest sinks, then the most recent positions. */
function preserving(mass, start, stop, count) {
  const score = recency(mass.length, start, stop)
  const outside = mass.map((value, place) => (place >= start && place < stop ? -Infinity : value))
  for (const place of bestPositions(outside, Math.floor(count / 2))) score[place] = 1
  return score.fill(2, 0, FIRST)
}

/** Products with the block's mean query, each position taking its best neighbour's, the block cut out. */
function pooled(product, start, stop) {
  const outer = [...range(0, start), ...range(stop, product.length)]
  const score = new Array(product.length).fill(-Infinity)
  const reach = Math.floor(POOL / 2)
  outer.forEach((place, index) => {
    const around = outer.slice(Math.max(0, index - reach), index + reach + 1)
    score[place] = Math.max(...around.map((other) => product[other]))
  })
  return score
}

/** Scores calibrated once: of the first positions from the start, of the others from the end. */
function calibrated({ first, from_end }, layer, length) {
  const known = from_end[layer].slice(0, length)
  const score = range(0, length).map((place) => known[Math.min(length - 1 - place, known.length - 1)])
  first[layer].slice(0, length).forEach((value, place) => (score[place] = value))
  return score
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0)
}

/** As Python rounds. */
function roundHalfEven(value) {
  const floor = Math.floor(value)
  if (value - floor !== 0.5) return Math.round(value)
  return floor % 2 ? floor + 1 : floor
}
