/** Files by URL: from disk in Node, fetched in a browser. */

import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'

import { InputError } from './errors.mjs'

/** The bytes of a file; an InputError where there is none. */
export async function readBytes(url) {
  if (url.protocol === 'file:') {
    const { readFile } = await import('node:fs/promises')
    try {
      return new Uint8Array(await readFile(url))
    } catch (error) {
      throw new InputError(`${url.pathname}: cannot be read (${error.code})`)
    }
  }
  const answer = await fetch(url)
  if (!answer.ok) throw new InputError(`${url}: cannot be fetched (status ${answer.status})`)
  return new Uint8Array(await answer.arrayBuffer())
}

/** The text of a file in UTF-8. */
export async function readText(url) {
  return new TextDecoder().decode(await readBytes(url))
}

/** The SHA-256 of bytes, or of a text in UTF-8, in hexadecimal. Browsers have theirs on secure pages alone. */
export function sha256Of(content) {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  return bytesToHex(sha256(bytes))
}
