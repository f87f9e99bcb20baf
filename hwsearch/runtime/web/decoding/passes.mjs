/** Where each pass of a generation reaches: the twin of hwsearch/decoding/passes.py. */

/** Whether passes run other rows than the whole sequence and the block. */
export function isWindowed({ window, suffix_window }) {
  const { before, after, advance, slide } = window
  return before !== 0 || after !== 0 || advance || slide || suffix_window !== null
}

/** What a pass over a block is; `index` counts the passes over the block, from 0. */
export function passKind(decoding, index, isFirst) {
  if (index % decoding.refresh_interval) return decoding.window.slide ? 'advance' : 'step'
  return index === 0 && !isFirst && decoding.window.advance ? 'advance' : 'refresh'
}

/**
 * One pass as a backend is asked for it.
 *
 * kind         refresh, advance or step
 * start, stop  its block
 * scope        null for what a plain decoding runs; else
 *   rows       first position that a step runs and the one after the last, in the tokens it is given
 *   store      whether the keys and values of a step's rows take their places in the cache
 *   positions  position of each token given, where some of the sequence is left out; null where none is
 *   tail       last positions of the sequence, which are seen however much before them is left out
 */
export function passCall(decoding, kind, start, length, suffixLength = 0) {
  const reach = reachOf(decoding, start, length, suffixLength)
  const call = { kind, start, stop: reach.stop, scope: null }
  if (!isWindowed(decoding)) return call
  const scope = {
    rows: rowsOf(reach, decoding, kind),
    store: kind === 'advance',
    positions: positionsOf(reach),
    tail: Math.max(1, suffixLength),
  }
  return { ...call, scope }
}

/** Which positions the passes over one block see: all before `visible`, and the last `tail`. */
function reachOf(decoding, start, length, suffixLength) {
  const [stop, window] = [start + decoding.block_length, decoding.suffix_window]
  if (window === null || stop + window >= length - suffixLength) {
    return { start, stop, visible: length, length, tail: 0 }
  }
  return { start, stop, visible: stop + window, length, tail: Math.max(1, suffixLength) }
}

function positionsOf({ visible, length, tail }) {
  if (!tail) return null
  return [...range(0, visible), ...range(length - tail, length)]
}

/** Rows that a pass runs, as places among the visible positions. */
function rowsOf({ start, stop, visible, tail }, decoding, kind) {
  const count = visible + tail
  if (kind === 'refresh') return [0, count]
  const { before, after, slide } = decoding.window
  const last = after === null ? count : Math.min(count, stop + after)
  if (kind === 'step') return [Math.max(0, start - before), last]
  // what the window before did not show was never run, so all that follows is
  const moved = decoding.suffix_window !== null
  const behind = slide ? 0 : decoding.block_length
  return [Math.max(0, start - before - behind), moved ? count : last]
}

/** Whole numbers from one to below another. */
export function range(start, stop) {
  return Array.from({ length: Math.max(0, stop - start) }, (_, index) => start + index)
}
