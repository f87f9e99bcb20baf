/**
 * Serve folders to a browser: node serve.mjs [--port 8000] [FOLDER...]
 *
 * The folder of this file is at /, others at /NAME/. Pages are isolated, so that a browser gives them threads
 * and a clock of fine steps. Whoever reaches the port may read these folders.
 */

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { basename, extname, join, normalize, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

import { command, countOf, parsed } from './command.mjs'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
}
const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

/** A server of folders; call its listen. */
export function server(folders = []) {
  const named = new Map(folders.map((folder) => [basename(resolve(folder)), resolve(folder)]))
  return createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, 'http://here').pathname))
    const [first, ...rest] = path.split(/[/\\]/).filter(Boolean)
    const file = named.has(first) ? join(named.get(first), ...rest) : join(HERE, path)
    const found = await stat(file).catch(() => null)
    const whole = found?.isDirectory() ? join(file, 'index.html') : file
    if (!(await stat(whole).catch(() => null))?.isFile()) {
      response.writeHead(404, ISOLATED).end('not found')
      return
    }
    response.writeHead(200, { ...ISOLATED, 'Content-Type': TYPES[extname(whole)] ?? 'application/octet-stream' })
    createReadStream(whole).pipe(response)
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await command(async () => {
    const { values, positionals } = parsed({ port: { type: 'string', default: '8000' } })
    const port = countOf(values, 'port')
    const served = server(positionals).listen(port, () => {
      console.error(`http://localhost:${port}/ (stop with Ctrl-C)`)
    })
    served.on('error', (error) => {
      console.error(`error: ${error.message}; take another --port`)
      process.exitCode = 2
    })
  })
}
