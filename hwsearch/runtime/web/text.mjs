/** Where an answer ends: tokens to the text that counts. The twin of hwsearch/decoding/answer.py. */

/** Stands for a mask where an answer is shown that is being written. */
export const UNWRITTEN = '░'

/** A text as a decoder that stops would have left it: nothing counts behind the stop that is complete first. */
export function cut(text, stops) {
  const used = stops.filter(Boolean)
  const complete = used.filter((stop) => text.includes(stop)).map((stop) => text.indexOf(stop) + stop.length)
  return used.reduce((left, stop) => left.split(stop)[0], text.slice(0, Math.min(text.length, ...complete)))
}

/** Text of generated tokens up to where the answer ends, without special tokens. */
export function answerText(tokenizer, tokens, ends, stops = []) {
  const special = specialTokens(tokenizer)
  const spelt = [...ends].filter((end) => special.has(end)).map((end) => whole(tokenizer, [end]))
  const all = [...stops, ...spelt]
  const found = tokens.findIndex((token) => ends.has(token))
  const end = found < 0 ? tokens.length : found
  const text = whole(tokenizer, tokens)
  const kept = cut(text, all).length
  const count = kept < text.length ? prefix(tokenizer, tokens, text, kept) : tokens.length
  if (count > end) return cut(plain(tokenizer, tokens.slice(0, end)), all)
  let answer = plain(tokenizer, tokens.slice(0, count))
  if (kept < text.length && count && !special.has(tokens[count - 1])) {
    // the stop begins inside the last token: its surplus goes
    const surplus = whole(tokenizer, tokens.slice(0, count)).length - kept
    answer = answer.slice(0, Math.max(0, answer.length - surplus))
  }
  // a stop may stand only where a special token has parted it
  return cut(answer, all)
}

/** Text of an answer that is being written, each mask as `UNWRITTEN`. */
export function partialText(tokenizer, tokens, mask, ends, stops = []) {
  const special = specialTokens(tokenizer)
  const end = tokens.findIndex((token) => ends.has(token))
  const shown = end < 0 ? tokens : tokens.slice(0, end)
  let text = whole(tokenizer, shown)
  if (shown.includes(mask)) text = text.replaceAll(tokenizer.id_to_token(mask) ?? UNWRITTEN, UNWRITTEN)
  text = cut(text, stops)
  for (const token of new Set(shown)) {
    if (special.has(token) && token !== mask) text = text.replaceAll(tokenizer.id_to_token(token) ?? '', '')
  }
  return text
}

function specialTokens(tokenizer) {
  return new Set([...tokenizer.get_added_tokens_decoder()].filter(([, token]) => token.special).map(([id]) => id))
}

/** Text with its special tokens; without any tokens there is none. */
function whole(tokenizer, tokens) {
  return decoded(tokenizer, tokens, false)
}

function plain(tokenizer, tokens) {
  return decoded(tokenizer, tokens, true)
}

function decoded(tokenizer, tokens, skips) {
  if (!tokens.length) return ''
  return tokenizer.decode(tokens, { skip_special_tokens: skips, clean_up_tokenization_spaces: false })
}

/** How many tokens hold the first `kept` characters of a text; prefixes that read otherwise are passed over. */
function prefix(tokenizer, tokens, text, kept) {
  for (let count = 0; count < tokens.length; count++) {
    const read = whole(tokenizer, tokens.slice(0, count))
    if (read.length >= kept && text.startsWith(read)) return count
  }
  return tokens.length
}
