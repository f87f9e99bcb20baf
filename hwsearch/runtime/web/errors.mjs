/** What the user can mend: said in one line, with what to do about it. */
export class InputError extends Error {}
