/** How many tokens each pass writes by a schedule, and what decides of one: the twin of hwsearch/decoding. */

import { checkPolicy, commit, descending, neededDivergences } from './commit.mjs'
import { InputError } from '../errors.mjs'

/** Where Dream's time ends: the share of masks that its last pass but one may leave. */
const EPSILON = 1e-3

/** Rules of a schedule that are run here; the others draw lots, by numpy's generator. */
const RULES = ['low_confidence', 'maskgit_plus', 'topk_margin', 'entropy']

const DEFAULTS = {
  rule: 'low_confidence',
  temperature: 0,
  commit: null,
  stop_at_end: false,
  window: { before: 0, after: 0, advance: false, slide: false },
  suffix_window: null,
  forecast: null,
}

/** A decoding with all its fields; what is not run here is refused by name. */
export function decodingOf(written) {
  const decoding = { ...DEFAULTS, ...written }
  decoding.window = { ...DEFAULTS.window, ...decoding.window }
  if (!RULES.includes(decoding.rule)) {
    throw new InputError(`rule '${decoding.rule}' draws lots, which is not run here; known: ${RULES.join(', ')}`)
  }
  if (decoding.temperature > 0) {
    throw new InputError(`temperature ${decoding.temperature} draws tokens, which is not run here; export with 0`)
  }
  if (decoding.forecast !== null) {
    throw new InputError('this decoding foresees passes, which is not run here; export it without forecast')
  }
  if (decoding.commit !== null) checkPolicy(decoding.commit)
  return decoding
}

export const blocksOf = (decoding) => decoding.gen_length / decoding.block_length

/** Passes over each block by a schedule. */
export const stepsPerBlock = (decoding) => decoding.steps / blocksOf(decoding)

/** Refreshes of a generation by the schedule, all blocks beginning with one. */
export function refreshesOf(decoding) {
  return blocksOf(decoding) * Math.ceil(stepsPerBlock(decoding) / decoding.refresh_interval)
}

/** Tokens that each pass over a block writes; together they are the block. */
export function quotasOf(decoding) {
  const [length, steps] = [decoding.block_length, stepsPerBlock(decoding)]
  if (decoding.rule === 'low_confidence') {
    return Array.from({ length: steps }, (_, index) => Math.floor(length / steps) + (index < length % steps ? 1 : 0))
  }
  let left = length
  return sharesOf(decoding).map((share) => {
    const quota = Math.trunc(left * share)
    left -= quota
    return quota
  })
}

/** The share of its masks that each pass over a block writes; the last one writes them all. */
export function sharesOf(decoding) {
  const steps = stepsPerBlock(decoding)
  // as numpy's linspace rounds
  const step = (EPSILON - 1) / steps
  const times = Array.from({ length: steps + 1 }, (_, index) => (index === steps ? EPSILON : index * step + 1))
  return Array.from({ length: steps }, (_, index) => (index === steps - 1 ? 1 : 1 - times[index + 1] / times[index]))
}

/** What decides in a decoding: call begin at each block. */
export function committerOf(decoding) {
  return decoding.commit === null ? new ScheduleCommitter(decoding) : new PolicyCommitter(decoding.commit)
}

class ScheduleCommitter {
  constructor(decoding) {
    this.quotas = quotasOf(decoding)
  }

  begin() {
    this.index = 0
  }

  isDone(index) {
    return index >= this.quotas.length
  }

  chosen(masked, found) {
    const best = descending(masked.map((is, row) => (is ? found.confidence[row] : -Infinity)))
    const first = new Set(best.slice(0, this.quotas[this.index++]))
    return masked.map((is, row) => is && first.has(row))
  }
}

class PolicyCommitter {
  constructor(policy) {
    this.policy = policy
    this.wanted = neededDivergences(policy)
  }

  begin() {
    this.seen = []
  }

  isDone(_, masked) {
    return !masked.includes(true)
  }

  chosen(masked, found, maskedShare) {
    const { confidence, entropy } = found
    return commit(this.policy, { masked, confidence, maskedShare, entropy, divergences: this.divergences(found) })
  }

  /** Divergences of the last passes, newest first, infinite where there were fewer. */
  divergences(found) {
    if (!this.wanted) return []
    this.seen = [found.divergence, ...this.seen].slice(0, this.wanted)
    const missing = this.wanted - this.seen.length
    return [...this.seen, ...Array(missing).fill(found.divergence.map(() => Infinity))]
  }
}
