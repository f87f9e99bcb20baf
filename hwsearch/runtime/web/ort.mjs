/** onnxruntime-web: graphs opened on one of its execution providers. */

import { InputError } from './errors.mjs'

/** The builds of onnxruntime-web by execution provider. WebGPU was tried in software alone, not on hardware. */
const BUILDS = {
  wasm: () => import('onnxruntime-web'),
  webgpu: () => import('onnxruntime-web/webgpu'),
}

/** onnxruntime's severity of errors: it warns about shapes that it inferred itself. */
const ERRORS_ONLY = 3

/**
 * Opens graphs.
 *
 * provider  where they run: `wasm` (the processor) or `webgpu`
 * threads   threads of one operator; above 1 a browser wants an isolated page, as serve.mjs gives
 */
export class Graphs {
  static async load({ provider = 'wasm', threads = 1 } = {}) {
    if (!Object.hasOwn(BUILDS, provider)) {
      throw new InputError(`provider must be one of ${Object.keys(BUILDS).join(', ')}; got '${provider}'`)
    }
    if (provider === 'webgpu' && !globalThis.navigator?.gpu) {
      throw new InputError("provider 'webgpu' needs a browser with WebGPU, which is not here; take 'wasm'")
    }
    const ort = await BUILDS[provider]()
    ort.env.wasm.numThreads = threads
    ort.env.logLevel = 'error'
    return new Graphs(ort, provider, threads)
  }

  constructor(ort, provider, threads) {
    Object.assign(this, { ort, provider, threads })
  }

  /** Its version, such as 1.30.0. */
  get version() {
    return this.ort.env.versions.web ?? this.ort.env.versions.common
  }

  /**
   * A session of a graph. Which file it is of is told where it does not open.
   *
   * graph     its bytes
   * external  files that its weights lie in, bytes by path
   */
  async open(graph, external = {}, where = 'a graph') {
    const externalData = Object.entries(external).map(([path, data]) => ({ path, data }))
    try {
      return await this.ort.InferenceSession.create(graph, {
        executionProviders: [this.provider],
        logSeverityLevel: ERRORS_ONLY,
        externalData,
      })
    } catch (error) {
      const line = String(error?.message ?? error).trim().split('\n')[0]
      throw new InputError(`${where}: onnxruntime-web ${this.version} (${this.provider}) does not open it: ${line}`)
    }
  }

  /** A tensor; see onnxruntime's types. */
  tensor(type, data, shape) {
    return new this.ort.Tensor(type, data, shape)
  }
}
