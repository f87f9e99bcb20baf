/** The graphs of a kit, opened with random weights and inputs, as something to time. */

import { randomOf } from '../clock.mjs'
import { readBytes } from '../files.mjs'

/** Arrays by type of an element. Of types without one here the bits are set. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  float8_e4m3fn: Uint8Array,
}

/** What onnxruntime calls a type, where that is another name. */
const NAMES = { float8_e4m3fn: 'float8e4m3fn' }

/** Random numbers that are drawn once and said again: a prime, so that no row of a matrix is like the next. */
const POOL = 65521

/**
 * A session of an operator's graph: { run, release }.
 *
 * operator  as kit.json describes it
 * folder    the URL of the kit
 * graphs    opens it; see ort.mjs
 */
export async function openOperator(operator, folder, graphs) {
  const graph = await readBytes(new URL(`graphs/${operator.graph}`, folder))
  const numbers = new RandomNumbers(0)
  const external = operator.weight_bytes ? { [operator.weights_at]: weightsOf(operator, numbers) } : {}
  const session = await graphs.open(graph, external, operator.graph)
  const feeds = Object.fromEntries(
    Object.entries(operator.inputs).map(([name, [type, shape, below]]) => {
      const data = numbers.array(type, sizeOf(shape), below)
      return [name, graphs.tensor(NAMES[type] ?? type, data, shape)]
    }),
  )
  return { run: () => session.run(feeds), release: () => session.release() }
}

/** The bytes that a graph's weights lie in, where it says that they do. */
function weightsOf(operator, numbers) {
  const bytes = new Uint8Array(operator.weight_bytes)
  for (const [name, [type, shape]] of Object.entries(operator.weights)) {
    const values = numbers.array(type, sizeOf(shape))
    bytes.set(new Uint8Array(values.buffer, 0, values.byteLength), operator.weight_offsets[name])
  }
  return bytes
}

function sizeOf(shape) {
  return shape.reduce((product, length) => product * length, 1)
}

/** Arrays of random numbers: small floats, and whole numbers of the type's range or below a limit. */
class RandomNumbers {
  constructor(seed) {
    const random = randomOf(seed)
    this.random = random
    this.floats = Float32Array.from({ length: POOL }, () => 0.1 * normal(random))
    this.bytes = Uint8Array.from({ length: POOL }, () => 256 * random())
  }

  array(type, size, below) {
    const Kind = ARRAYS[type]
    if (!Kind) throw new Error(`no arrays of type ${type}`)
    const values = new Kind(size)
    if (below !== undefined) return values.map(() => wholeBelow(Kind, below, this.random))
    if (type.startsWith('float') && Kind !== Uint16Array && Kind !== Uint8Array) return filled(values, this.floats)
    if (type === 'float16') return values.map((_, index) => 0x2c00 + this.bytes[index % POOL]) // about 0.06
    // of 8-bit floats 0x30 to 0x3f are 0.5 to 1.9, so that no product overflows
    if (type === 'float8_e4m3fn') return values.map((_, index) => 0x30 + (this.bytes[index % POOL] & 15))
    filled(new Uint8Array(values.buffer), this.bytes)
    return values
  }
}

function wholeBelow(Kind, below, random) {
  const value = Math.floor(below * random())
  return Kind === BigInt64Array ? BigInt(value) : value
}

function filled(values, pool) {
  for (let at = 0; at < values.length; at += pool.length) {
    values.set(pool.subarray(0, Math.min(pool.length, values.length - at)), at)
  }
  return values
}

/** A number of the standard normal distribution (Box and Muller). */
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}
