/** Commands of Node: options, and errors in one line. */

import { parseArgs } from 'node:util'

import { InputError } from './errors.mjs'

/** Options and words of the command line. */
export function parsed(options) {
  try {
    return parseArgs({ options, allowPositionals: true })
  } catch (error) {
    throw new InputError(error.message.split('\n')[0])
  }
}

/** A whole number of at least 1 that an option gives. */
export function countOf(values, name) {
  const count = Number(values[name])
  if (!Number.isInteger(count) || count < 1) {
    throw new InputError(`--${name} must be a whole number of at least 1; got '${values[name]}'`)
  }
  return count
}

/** Run a command: what the user can mend ends with one line and exit code 2. */
export async function command(main) {
  try {
    await main()
  } catch (error) {
    const isMissing = error.code === 'ERR_MODULE_NOT_FOUND'
    if (!(error instanceof InputError) && !isMissing) throw error
    console.error(`error: ${isMissing ? `${error.message}; run npm install in this folder first` : error.message}`)
    process.exitCode = 2
  }
}
