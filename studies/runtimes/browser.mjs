/**
 * The same kit and the same bundles in a headless Chromium and in Node, in one run.
 *
 *   node browser.mjs KIT RUNNER BUNDLE... --questions FILE.jsonl [--rounds 3] [--chromium /usr/bin/chromium]
 *
 * KIT and RUNNER are folders of `hwsearch profile --kit KIT --for onnxruntime-web` and `hwsearch web RUNNER`,
 * in both of which npm install was run. playwright-core is looked for in HWSEARCH_NODE_MODULES. Prints, of
 * operators and of whole generations, the browser's time over Node's, by kind; and whether tokens are the same.
 * In each of three turns the browser is timed, then Node, so that both see the machine alike. Operators are in
 * the time that passes, generations in the time that either process has had of its processor.
 */

import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { basename, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const TURNS = 3
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking']
const MORE = ['--disable-component-update', '--disable-sync']

const { values, positionals } = parseArgs({
  options: {
    questions: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
  allowPositionals: true,
})
const [kit, runner, ...bundles] = positionals.map((folder) => resolve(folder))
const rounds = Number(values.rounds)
const questions = readFileSync(values.questions, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line))
const require = createRequire(join(resolve(process.env.HWSEARCH_NODE_MODULES), 'here.js'))
const { chromium } = require('playwright-core')

/** A page of a folder that serve.mjs serves. */
async function opened(browser, folder, folders = []) {
  const { server } = await import(pathToFileURL(join(folder, 'serve.mjs')))
  const served = server(folders).listen(0)
  await once(served, 'listening')
  const page = await browser.newPage()
  page.setDefaultTimeout(0)
  await page.goto(`http://localhost:${served.address().port}/`)
  return { page, served }
}

/** Milliseconds that the process of a page has had of its processor. */
async function processorMs(session) {
  const { metrics } = await session.send('Performance.getMetrics')
  return 1e3 * metrics.find(({ name }) => name === 'ProcessTime').value
}

/** Tokens that every engine of `opened` writes, and milliseconds a generation of each. */
async function answersInBrowser({ page, session }, count) {
  const found = []
  for (let index = 0; index < count; index++) {
    const began = await processorMs(session)
    const tokens = await page.evaluate((place) => window.answer(place), index)
    found.push({ tokens, ms: ((await processorMs(session)) - began) / tokens.length })
  }
  return found
}

async function answersInNode(engines) {
  const found = []
  for (const engine of engines) {
    const began = CLOCKS.processor()
    const tokens = await answered(engine)
    found.push({ tokens, ms: (CLOCKS.processor() - began) / tokens.length })
  }
  return found
}

async function answered(engine) {
  const tokens = []
  for (const { question } of questions) tokens.push((await engine.generation(engine.given(question))).tokens)
  return tokens
}

const module = (folder, name) => import(pathToFileURL(join(folder, name)))
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]

/** Medians of results.csv in microseconds, by all that names an operator. */
function medians(text) {
  const lines = text.trim().split('\n').filter((line) => !line.startsWith('#')).slice(1)
  const samples = Map.groupBy?.(lines, keyOf) ?? grouped(lines)
  return new Map([...samples].map(([key, found]) => [key, median(found.map((line) => Number(line.split(',').at(-1))))]))
}

const keyOf = (line) => line.split(',').slice(0, -3).join(',')

function grouped(lines) {
  const found = new Map()
  for (const line of lines) found.set(keyOf(line), [...(found.get(keyOf(line)) ?? []), line])
  return found
}

/** The median over all of one kind of the browser's time over Node's. */
function ratios(browser, node) {
  const found = {}
  for (const [key, micro] of browser) {
    const [kind, , , , ...rest] = key.split(',')
    const format = rest.find((cell) => /^(fp|w)\d/.test(cell))
    const name = kind === 'linear' ? `${kind} ${format}` : kind
    ;(found[name] ??= []).push(micro / node.get(key))
  }
  return Object.fromEntries(Object.entries(found).map(([name, all]) => [name, Number(median(all).toFixed(3))]))
}

const browser = await chromium.launch({ executablePath: values.chromium, args: [...QUIET, ...MORE] })
const timing = await opened(browser, kit)
const asking = await opened(browser, runner, bundles)
const { timeKit } = await module(kit, 'kit/timing.mjs')
const { openEngine } = await module(runner, 'engine.mjs')
const { CLOCKS } = await module(runner, 'clock.mjs')
asking.session = await asking.page.context().newCDPSession(asking.page)
await asking.session.send('Performance.enable')
await asking.page.evaluate(
  async ([names, asked]) => {
    const { openEngine: open } = await import('./engine.mjs')
    const engines = []
    for (const name of names) engines.push(await open(new URL(`${name}/`, location)))
    window.answer = async (place) => {
      const tokens = []
      for (const { question } of asked) {
        tokens.push((await engines[place].generation(engines[place].given(question))).tokens)
      }
      return tokens
    }
  },
  [bundles.map((folder) => basename(folder)), questions],
)
const engines = []
for (const folder of bundles) engines.push(await openEngine(pathToFileURL(folder)))
await answersInBrowser(asking, bundles.length) // warms them
await answersInNode(engines)
const texts = { browser: [], node: [] }
const answers = { browser: [], node: [] }
for (let turn = 0; turn < TURNS; turn++) {
  const once = { rounds, sessions: 1 }
  texts.browser.push(
    await timing.page.evaluate(async (options) => {
      const { timeKit: time } = await import('./kit/timing.mjs')
      return time(new URL('.', location), { processor: 'this', system: 'this', engine: navigator.userAgent }, options)
    }, once),
  )
  texts.node.push(await timeKit(pathToFileURL(`${kit}/`), { engine: 'node' }, once))
  answers.browser.push(await answersInBrowser(asking, bundles.length))
  answers.node.push(await answersInNode(engines))
  console.error(`turn ${turn + 1} of ${TURNS}`)
}
const turns = texts.browser.map((text, turn) => ratios(medians(text), medians(texts.node[turn])))
const kinds = Object.keys(turns[0])
const generations = bundles.map((folder, index) => {
  const ms = (found) => median(found.map((turn) => turn[index].ms))
  const told = (found) => JSON.stringify(found.map((turn) => turn[index].tokens))
  const same = told(answers.browser) === told(answers.node)
  const [inBrowser, inNode] = [ms(answers.browser), ms(answers.node)]
  return { bundle: basename(folder), browser_ms: inBrowser, node_ms: inNode, ratio: inBrowser / inNode, same_tokens: same }
})
const engine = await timing.page.evaluate(() => navigator.userAgent)
const operators = Object.fromEntries(kinds.map((kind) => [kind, median(turns.map((found) => found[kind]))]))
console.log(JSON.stringify({ engine, node: process.version, operators, generations }, null, 1))
await browser.close()
for (const { served } of [timing, asking]) served.close()
