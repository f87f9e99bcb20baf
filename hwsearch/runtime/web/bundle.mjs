/** What a bundle folder holds, and whether it still holds exactly that: the twin of hwsearch/runtime/bundle.py. */

import { decodingOf, refreshesOf } from './decoding/schedule.mjs'
import { InputError } from './errors.mjs'
import { readBytes, readText, sha256Of } from './files.mjs'

const SCHEMA_VERSION = 1
const SEAL = /"seal": "([0-9a-f]{64})"/
const BROKEN = 'it was changed or damaged after the export; export the bundle again'

/** What bundles are written for that runs here: others' graphs may lack a kernel, or be another's. */
export const RUNTIME = 'onnxruntime-web'

const FILES = ['refresh.onnx', 'step.onnx', 'weights.bin', 'tokenizer.json']

/** Read and check a bundle. Returns its manifest, decoding, kept shares, and the bytes of its files by name. */
export async function readBundle(folder) {
  const url = new URL(folder.href.endsWith('/') ? folder.href : `${folder.href}/`)
  const text = await readText(new URL('bundle.json', url))
  const seal = SEAL.exec(text)
  if (!seal || sha256Of(text.replace(SEAL, `"seal": "${'0'.repeat(64)}"`)) !== seal[1]) {
    throw new InputError(`${url.pathname}bundle.json: its seal does not match its content: ${BROKEN}`)
  }
  const manifest = JSON.parse(text)
  checkManifest(manifest, url)
  const files = {}
  for (const name of FILES.filter((file) => file in manifest.sha256)) {
    files[name] = await readBytes(new URL(name, url))
    if (sha256Of(files[name]) !== manifest.sha256[name]) {
      throw new InputError(`${url.pathname}${name}: its checksum does not match bundle.json: ${BROKEN}`)
    }
  }
  const decoding = decodingOf(manifest.decoding)
  return { name: url.pathname, manifest, decoding, kept: keptOf(manifest, decoding), files }
}

function checkManifest({ schema_version, runtime = 'onnxruntime-cpu' }, { pathname }) {
  if (schema_version !== SCHEMA_VERSION) {
    throw new InputError(`${pathname}bundle.json: schema_version must be ${SCHEMA_VERSION}, got ${schema_version}`)
  }
  if (runtime !== RUNTIME) {
    throw new InputError(
      `${pathname} was exported for ${runtime}, not for ${RUNTIME}: its graphs are written for that, and its ` +
        `times hold there alone; export the plan with --runtime ${RUNTIME}`,
    )
  }
}

function keptOf({ kept_shares, cache, static: scores }, decoding) {
  return { shares: kept_shares, policy: cache, refreshes: refreshesOf(decoding), scores }
}

/** Every token that ends an answer. */
export function endTokens({ end_token_id, end_token_ids = [] }) {
  return new Set([end_token_id, ...end_token_ids])
}
