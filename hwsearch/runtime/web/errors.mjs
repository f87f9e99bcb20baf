/** What the user can mend: said in one line, with what to do about it. */
export class InputError extends Error {}

/** Run a command of Node: what the user can mend ends with one line and exit code 2. */
export async function command(main) {
  try {
    await main()
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    console.error(`error: ${error.message}`)
    process.exitCode = 2
  }
}
