/** Tokens and texts of tokenizers: node texts.mjs WEB < cases.json. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const web = process.argv[2]
const { tokenizerOf } = await import(pathToFileURL(join(web, 'engine.mjs')))
const { answerText, partialText } = await import(pathToFileURL(join(web, 'text.mjs')))
const found = JSON.parse(readFileSync(0, 'utf8')).map(({ tokenizer: file, texts, answers }) => {
  const tokenizer = tokenizerOf(file)
  return {
    ids: texts.map((text) => tokenizer.encode(text).ids),
    answers: answers.map(({ tokens, ends, stops }) => answerText(tokenizer, tokens, new Set(ends), stops)),
    partial: answers.map(({ tokens, ends, mask }) => partialText(tokenizer, tokens, mask, new Set(ends))),
  }
})
console.log(JSON.stringify(found))
