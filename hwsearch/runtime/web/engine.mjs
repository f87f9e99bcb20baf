/** A bundle, ready to answer questions: the twin of hwsearch/runtime/engine.py. */

import { Tokenizer } from '@huggingface/tokenizers'

import { openBackend } from './backend.mjs'
import { endTokens, readBundle } from './bundle.mjs'
import { generation } from './decoding/sampler.mjs'
import { InputError } from './errors.mjs'
import { Graphs } from './ort.mjs'
import { answerText, partialText } from './text.mjs'

/**
 * Open a bundle.
 *
 * folder    its URL
 * provider  wasm or webgpu
 * threads   threads of one operator
 */
export async function openEngine(folder, options = {}) {
  const bundle = await readBundle(folder)
  const backend = await openBackend(bundle, await Graphs.load(options))
  const tokenizer = tokenizerOf(JSON.parse(new TextDecoder().decode(bundle.files['tokenizer.json'])))
  return new Engine(bundle, backend, tokenizer)
}

/** A tokenizer of the content of tokenizer.json. That of words looks for its unknown token beside the file. */
export function tokenizerOf(content) {
  return new Tokenizer(content, { unk_token: content.model.unk_token })
}

/** Generates with a bundle, one answer at a time. */
export class Engine {
  constructor(bundle, backend, tokenizer) {
    const { manifest, decoding } = bundle
    Object.assign(this, { bundle, manifest, decoding, backend, tokenizer })
    this.ends = endTokens(manifest)
  }

  /**
   * The model's answer to a question, cut where it ends.
   *
   * suffix  text that is given behind the answer, which fills the blank before it
   * plain   leave a chat template aside
   * stops   texts that end the answer
   * onText  called after each pass with the text so far
   */
  async generate(question, { suffix = '', plain = false, stops = [], onText = null } = {}) {
    const asks = plain || !this.manifest.chat ? 'template' : 'chat'
    const show = (tokens) => onText(partialText(this.tokenizer, tokens, this.manifest.mask_token_id, this.ends, stops))
    const { tokens } = await this.generation(this.given(question, suffix, asks), onText ? show : undefined)
    return answerText(this.tokenizer, tokens, this.ends, stops)
  }

  /** What is written between tokens that are given, and in which passes; see `generation` in sampler.mjs. */
  generation(given, onPass) {
    return generation(this.backend, given, this.decoding, this.manifest.mask_token_id, this.ends, onPass)
  }

  /** Tokens on both sides of the answer: { prompt, suffix }. */
  given(question, suffix = '', asks = 'template') {
    if (asks === 'chat') {
      throw new InputError('chat templates are not run here; ask plainly (--plain), or give the whole prompt as text')
    }
    const template = this.manifest.prompt_template
    const text = asks === 'text' ? question : template.replaceAll('{question}', () => question)
    return { prompt: this.tokens(text), suffix: suffix ? this.tokens(suffix, false) : [] }
  }

  tokens(text, special = true) {
    const { ids } = this.tokenizer.encode(text, { add_special_tokens: special })
    if (ids.includes(undefined)) throw new InputError(`the tokenizer has no token for some of '${text}'`)
    return ids
  }

  /** How much of what torch wrote before the export is written again: { same, tokens, first }. */
  async agreement() {
    let [same, total, first] = [0, 0, null]
    for (const { question, suffix = '', tokens } of this.manifest.reference) {
      const { tokens: written } = await this.generation(this.given(question, suffix, this.manifest.asks))
      const equal = tokens.filter((token, place) => token === written[place]).length
      if (equal < tokens.length) first ??= question
      same += equal
      total += tokens.length
    }
    return { same, tokens: total, first }
  }
}
