/**
 * Answer a question with a bundle, in Node:
 *
 *   node generate.mjs BUNDLE "question" [--suffix TEXT] [--stop TEXT] [--plain] [--threads 1] [--json]
 *   node generate.mjs BUNDLE --agreement    how much of torch's answers in the bundle is written again
 */

import { pathToFileURL } from 'node:url'

import { command, countOf, parsed } from './command.mjs'
import { InputError } from './errors.mjs'

const OPTIONS = {
  suffix: { type: 'string', default: '' },
  stop: { type: 'string', multiple: true, default: [] },
  plain: { type: 'boolean', default: false },
  agreement: { type: 'boolean', default: false },
  threads: { type: 'string', default: '1' },
  json: { type: 'boolean', default: false },
}

await command(async () => {
  const { values, positionals } = parsed(OPTIONS)
  const [folder, question] = positionals
  if (!folder || (question === undefined && !values.agreement)) {
    throw new InputError('usage: node generate.mjs BUNDLE "question"')
  }
  const { openEngine } = await import('./engine.mjs')
  const engine = await openEngine(pathToFileURL(folder), { threads: countOf(values, 'threads') })
  if (values.agreement) {
    const { same, tokens, first } = await engine.agreement()
    const where = first === null ? '' : `; first difference at '${first}'`
    console.log(values.json ? JSON.stringify({ same, tokens, first }) : `${same} of ${tokens} tokens of torch${where}`)
    return
  }
  const { suffix, plain, stop: stops, json } = values
  const answer = await engine.generate(question, { suffix, plain, stops })
  console.log(json ? JSON.stringify({ question, ...(suffix && { suffix }), answer }) : answer)
})
