/**
 * Timing on a machine that is never quiet: interleaved rounds of samples that each fill 20 ms.
 *
 * The twin of hwsearch/latency/timing/clock.py, whose reasons hold here, too. A browser's clock has steps of
 * up to 0.1 ms, which is half a percent of a sample.
 */

const SAMPLE_MS = 20

/** Clocks in milliseconds: the time that passes, and the processor's that this process of Node has had. */
export const CLOCKS = {
  wall: () => performance.now(),
  processor() {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e3
  },
}

/**
 * Microseconds a run: `rounds` samples of each, taken in turn and in changing order.
 *
 * runs      functions that return promises; each is called once or twice beforehand to warm it
 * seed      of the order within the rounds
 * clock     one of CLOCKS
 * progress  called after each round with how many are done
 */
export async function interleave(runs, rounds, { seed = 0, clock = CLOCKS.wall, progress = () => {} } = {}) {
  const alone = []
  for (const run of runs) {
    const cold = await timed(run, 1, clock)
    // what fills a sample cold is run once in each
    alone.push(cold > SAMPLE_MS ? cold : Math.max(await timed(run, 1, clock), 1e-6))
  }
  const samples = runs.map(() => [])
  const order = runs.map((_, index) => index)
  const random = randomOf(seed)
  for (let round = 0; round < rounds; round++) {
    shuffle(order, random)
    for (const index of order) {
      const repeats = Math.max(1, Math.round(SAMPLE_MS / alone[index]))
      if (repeats > 1) await runs[index]() // the coldest one is nobody's
      samples[index].push((await timed(runs[index], repeats, clock)) * 1e3)
    }
    progress(round + 1)
  }
  return samples
}

/** Milliseconds of a run, the mean over so many. */
async function timed(run, repeats, clock) {
  const began = clock()
  for (let count = 0; count < repeats; count++) await run()
  return (clock() - began) / repeats
}

/** Random numbers from 0 to below 1, the same for the same seed (mulberry32). */
export function randomOf(seed) {
  let state = seed + 0x6d2b79f5
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Put items into another order, in place (Fisher and Yates). */
export function shuffle(items, random) {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    ;[items[last], items[other]] = [items[other], items[last]]
  }
}
