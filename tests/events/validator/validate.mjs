// Validates the AsyncAPI document on standard input; prints what is wrong with it, one line each, and ends with
// status 1 where there is any error. The only argument: the folder `node_modules` with the parser.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { Parser } = createRequire(`${process.argv[2]}/`)('@asyncapi/parser')

const ERROR = 0
const diagnostics = await new Parser().validate(readFileSync(0, 'utf8'))
for (const { severity, code, message, path } of diagnostics) {
  console.log(`${severity === ERROR ? 'error' : 'note'} ${code} ${path.join('.')}: ${message}`)
}
process.exitCode = diagnostics.some(({ severity }) => severity === ERROR) ? 1 : 0
