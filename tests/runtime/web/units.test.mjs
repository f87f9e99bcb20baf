/** What has no twin in Python, by Node's own runner: node --test units.test.mjs. Needs no packages. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

const WEB = new URL('../../../hwsearch/runtime/web/', import.meta.url)
const { interleave, randomOf } = await import(new URL('clock.mjs', WEB))
const { server } = await import(new URL('serve.mjs', WEB))
const { answerText, cut, partialText } = await import(new URL('text.mjs', WEB))

test('samples are taken in turn, as many of each', async () => {
  const calls = []
  const runs = ['a', 'b', 'c'].map((name) => async () => {
    calls.push(name)
    await new Promise((resolve) => setTimeout(resolve, 25)) // longer than a sample, so that each is one run
  })
  const rounds = []
  const samples = await interleave(runs, 2, { progress: (round) => rounds.push(round) })
  assert.deepEqual(samples.map((found) => found.length), [2, 2, 2])
  assert.deepEqual(rounds, [1, 2])
  assert.deepEqual(calls.slice(0, 3), ['a', 'b', 'c'])
  for (const at of [3, 6]) assert.deepEqual(calls.slice(at, at + 3).sort(), ['a', 'b', 'c'])
})

test('random numbers are the same for the same seed, and spread', () => {
  const [first, again, other] = [randomOf(1), randomOf(1), randomOf(2)]
  const drawn = Array.from({ length: 1000 }, first)
  assert.deepEqual(drawn, Array.from({ length: 1000 }, again))
  assert.notDeepEqual(drawn, Array.from({ length: 1000 }, other))
  assert(drawn.every((value) => value >= 0 && value < 1))
  const mean = drawn.reduce((sum, value) => sum + value, 0) / drawn.length
  assert(Math.abs(mean - 0.5) < 0.05)
})

/** A tokenizer of words, of which those in angle brackets are special. */
const WORDS = ['<mask>', '<end>', 'a ', 'b ', 'a', 'Q:x ', '<|x|>']
const TOKENIZER = {
  decode: (ids, { skip_special_tokens: skips }) =>
    ids.map((id) => (skips && WORDS[id].startsWith('<') ? '' : WORDS[id])).join(''),
  get_added_tokens_decoder: () => new Map([0, 1, 6].map((id) => [id, { special: true }])),
  id_to_token: (id) => WORDS[id],
}

test('an answer ends at its first end token or stop', () => {
  const ends = new Set([1])
  assert.equal(cut('7 apples\n\nQ: next', ['Q:', '\n\n', '']), '7 apples')
  assert.equal(answerText(TOKENIZER, [2, 3, 1, 2, 2], ends), 'a b ')
  assert.equal(answerText(TOKENIZER, [2, 6, 3, 4], ends), 'a b a')
  assert.equal(answerText(TOKENIZER, [2, 6, 3, 4], ends, ['<|x|>']), 'a ')
  assert.equal(answerText(TOKENIZER, [2, 5, 3], ends, ['Q:']), 'a ')
  assert.equal(answerText(TOKENIZER, [1, 1], ends), '')
  assert.equal(answerText(TOKENIZER, [], ends), '')
})

test('what is not written yet is shown as such', () => {
  assert.equal(partialText(TOKENIZER, [2, 0, 6, 3, 1, 0], 0, new Set([1])), 'a ░b ')
})

test('folders are served by name, isolated, and nothing above them', async () => {
  const folder = join(await mkdtemp(join(tmpdir(), 'served-')), 'bundle')
  await mkdir(folder)
  await writeFile(join(folder, 'index.html'), 'hello')
  await writeFile(join(folder, '..', 'secret'), 'no')
  const served = server([folder]).listen(0)
  await once(served, 'listening')
  const at = `http://localhost:${served.address().port}`
  const page = await fetch(`${at}/bundle/`)
  assert.equal(await page.text(), 'hello')
  assert.equal(page.headers.get('cross-origin-embedder-policy'), 'require-corp')
  const script = await fetch(`${at}/clock.mjs`)
  assert.equal(script.headers.get('content-type'), 'text/javascript')
  await script.text()
  for (const path of ['/bundle/../secret', '/bundle/%2e%2e/secret', '/bundle/..%2fsecret', '/none']) {
    const found = await fetch(`${at}${path}`)
    assert.equal(found.status, 404, path)
    await found.text()
  }
  served.close()
})
