/** The block-wise sampler for one sequence: the twin of hwsearch/decoding/sampler.py. */

import { passCall, passKind } from './passes.mjs'
import { committerOf } from './schedule.mjs'

/**
 * Write `decoding.gen_length` tokens between a prompt and a suffix.
 *
 * backend  runs passes: begin(), refresh(call, tokens) and step(call, tokens)
 * given    tokens on both sides of the blank: { prompt, suffix }
 * mask     the token that stands for "not written yet"
 * ends     tokens that end an answer, a Set
 * onPass   called after each pass with all tokens as they stand
 *
 * Returns { tokens, written, passes }: the blank's tokens, the pass that wrote each (-1 for none), and
 * [kind, first position of the block counted from the prompt's end] of each pass.
 */
export async function generation(backend, given, decoding, mask, ends, onPass = () => {}) {
  const writer = new Writer(backend, given, decoding, mask, ends, onPass)
  backend.begin()
  await (decoding.window.slide ? writer.writeSliding() : writer.writeBlocks())
  const { start, stop } = writer
  return { tokens: writer.tokens.slice(start, stop), written: writer.written.slice(start, stop), passes: writer.passes }
}

class Writer {
  constructor(backend, { prompt, suffix = [] }, decoding, mask, ends, onPass) {
    const blank = new Array(decoding.gen_length).fill(mask)
    Object.assign(this, { backend, decoding, mask, ends, onPass, suffixLength: suffix.length })
    this.tokens = [...prompt, ...blank, ...suffix]
    this.start = prompt.length
    this.stop = prompt.length + blank.length
    this.written = this.tokens.map(() => -1)
    this.passes = []
    this.committer = committerOf(decoding)
  }

  async writeBlocks() {
    const { decoding, start, stop } = this
    for (let block = start; block < stop; block += decoding.block_length) {
      await this.writeBlock(block)
      if (decoding.stop_at_end && this.hasEnded(block, block + decoding.block_length)) return
    }
  }

  /** Pass over a block until it takes no more. */
  async writeBlock(start) {
    const stop = start + this.decoding.block_length
    this.committer.begin()
    for (let index = 0; ; index++) {
      const masked = this.masked(start, stop)
      if (this.committer.isDone(index, masked)) return
      await this.pass(passKind(this.decoding, index, start === this.start), start, masked)
    }
  }

  /** Fill the sequence with a block that begins at the first mask. */
  async writeSliding() {
    const { decoding, start, stop } = this
    this.committer.begin()
    for (let index = 0; ; index++) {
      const open = this.written.slice(start, stop).findIndex((pass) => pass < 0)
      if (open < 0) return
      const block = Math.min(start + open, stop - decoding.block_length)
      if (decoding.stop_at_end && this.hasEnded(start, block)) return
      const masked = this.written.slice(block, block + decoding.block_length).map((pass) => pass < 0)
      await this.pass(passKind(decoding, index, index === 0), block, masked)
    }
  }

  /** Run a pass and write what is chosen of its guesses. */
  async pass(kind, start, masked) {
    const call = passCall(this.decoding, kind, start, this.tokens.length, this.suffixLength)
    const shown = call.scope?.positions
    const tokens = shown ? shown.map((place) => this.tokens[place]) : this.tokens
    const found = await (kind === 'refresh' ? this.backend.refresh(call, tokens) : this.backend.step(call, tokens))
    this.committer.chosen(masked, found, this.maskedShare(call)).forEach((is, row) => {
      if (!is) return
      this.tokens[start + row] = found.tokens[row]
      this.written[start + row] = this.passes.length
    })
    this.passes.push([kind, start - this.start])
    this.onPass(this.tokens.slice(this.start, this.stop))
  }

  /** What may be written. A model may write its own mask token, and a policy must end all the same. */
  masked(start, stop) {
    if (this.decoding.commit === null) return this.tokens.slice(start, stop).map((token) => token === this.mask)
    return this.written.slice(start, stop).map((pass) => pass < 0)
  }

  /** Masks left in the block and the window after it. */
  maskedShare(call) {
    const window = this.decoding.suffix_window
    const stop = window === null ? this.stop : Math.min(this.stop, call.stop + window)
    const seen = this.tokens.slice(call.start, stop)
    return seen.filter((token) => token === this.mask).length / seen.length
  }

  /** Whether start..stop, all written, holds an end token; it then fills the rest of the blank. */
  hasEnded(start, stop) {
    const end = this.tokens.slice(start, stop).find((token) => this.ends.has(token))
    if (end === undefined) return false
    this.tokens.fill(end, stop, this.stop)
    return true
  }
}
