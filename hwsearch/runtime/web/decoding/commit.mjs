/**
 * Which masks a pass writes by a commit policy: the twin of hwsearch/commit, a function a policy.
 *
 * Candidates are of the rows of one block:
 *   masked       whether each still holds a mask
 *   confidence   probability of its predicted token
 *   maskedShare  masks left among the positions of the block and of the window after it
 *   entropy      of its predicted distribution, in nats
 *   divergences  KL(this pass ‖ the one before) for the last passes, newest first
 */

import { InputError } from '../errors.mjs'

/** What each policy looks at beside confidences, and which masks it is sure of. */
const POLICIES = {
  threshold: { chosen: ({ threshold }, { confidence }) => above(confidence, threshold) },
  factor: { chosen: byFactor },
  'decaying-threshold': { chosen: byDecayingThreshold },
  'entropy-bound': { chosen: byEntropyBound },
  'kl-stable': { chosen: byStillness, divergences: 2 },
  // credit is in the confidence already
  credit: { chosen: ({ threshold }, { confidence }) => above(confidence, threshold) },
  hierarchy: { chosen: byHierarchy },
}

/** Refuse a policy that is not here. */
export function checkPolicy(policy) {
  if (!Object.hasOwn(POLICIES, policy.policy)) {
    throw new InputError(`commit policy '${policy.policy}' is not run here; known: ${Object.keys(POLICIES).join(', ')}`)
  }
}

/** How many passes of divergences a policy looks at. */
export function neededDivergences(policy) {
  return POLICIES[policy.policy].divergences ?? 0
}

/** The rows to write: those chosen, and the most certain mask in any case, so that a block ends. */
export function commit(policy, candidates) {
  const chosen = POLICIES[policy.policy].chosen(policy, candidates)
  const [best] = byConfidence(candidates)
  return candidates.masked.map((masked, row) => masked && (chosen[row] || row === best))
}

/** Rows by falling worth; equals keep their order. */
export function descending(worth) {
  return Array.from(worth.keys()).sort((a, b) => (worth[a] === worth[b] ? 0 : worth[b] > worth[a] ? 1 : -1))
}

function above(confidence, threshold) {
  return Array.from(confidence, (value) => value > threshold)
}

function byFactor({ factor }, candidates) {
  const order = byConfidence(candidates)
  let count = 0
  order.forEach((row, index) => {
    const confidence = candidates.masked[row] ? candidates.confidence[row] : -Infinity
    if ((index + 2) * (1 - confidence) < factor) count = index + 1
  })
  return firstOf(order, count)
}

function byDecayingThreshold({ threshold, decay }, { confidence, maskedShare }) {
  return above(confidence, threshold * (1 - decay * (1 - maskedShare)))
}

function byEntropyBound({ bound }, candidates) {
  const order = byConfidence(candidates)
  let [count, sum, most] = [0, 0, -Infinity]
  order.forEach((row, index) => {
    const entropy = candidates.masked[row] ? candidates.entropy[row] : Infinity
    sum += entropy
    most = Math.max(most, entropy)
    if (Number.isFinite(entropy) && sum - most <= bound) count = index + 1
  })
  return firstOf(order, count)
}

function byStillness({ threshold, divergence }, { confidence, divergences }) {
  return Array.from(
    confidence,
    (value, row) => value > threshold && divergences.every((pass) => pass[row] < divergence),
  )
}

function byHierarchy({ threshold, low }, { masked, confidence }) {
  const best = new Set()
  for (let start = 0; start < masked.length; start++) {
    if (!masked[start]) continue
    let [top, stop] = [start, start]
    for (; stop < masked.length && masked[stop]; stop++) if (confidence[stop] > confidence[top]) top = stop
    best.add(top)
    start = stop
  }
  return Array.from(confidence, (value, row) => masked[row] && (value > threshold || (best.has(row) && value > low)))
}

/** Rows from the most certain mask to the least; masks first. */
function byConfidence({ masked, confidence }) {
  return descending(masked.map((is, row) => (is ? confidence[row] : -Infinity)))
}

function firstOf(order, count) {
  const chosen = order.map(() => false)
  for (const row of order.slice(0, count)) chosen[row] = true
  return chosen
}
