// The totals, in a SQLite file: what was added up, and which records are in it.

import { DatabaseSync } from 'node:sqlite'

import Big from 'big.js'

// Amounts are decimal strings and stay exact. In strict mode a JavaScript number, which is not, is refused.
Big.strict = true

const TABLES = `
  CREATE TABLE IF NOT EXISTS counted (log_id TEXT PRIMARY KEY, repriced INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS totals (
    account_id TEXT PRIMARY KEY,
    requests INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    cost TEXT NOT NULL
  ) WITHOUT ROWID;
`

export class Totals {
  #database
  #findMark
  #mark
  #find
  #store

  constructor(path) {
    this.#database = new DatabaseSync(path)
    this.#database.exec(TABLES)
    this.#findMark = this.#database.prepare('SELECT repriced FROM counted WHERE log_id = ?')
    this.#mark = this.#database.prepare('INSERT OR REPLACE INTO counted VALUES (?, ?)')
    this.#find = this.#database.prepare('SELECT requests, unpriced, cost FROM totals WHERE account_id = ?')
    this.#store = this.#database.prepare('INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?)')
  }

  // Adds events up, all or none; returns the totals that changed. What was counted before is passed over: the
  // mark of a record and its amount are stored in one transaction, so neither is ever there without the other.
  // A record whose cost was found later comes once more, with `repriced_at`: until then it was unpriced.
  add(events) {
    const changed = new Map()
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      for (const event of events) {
        const repriced = event.repriced_at ? 1 : 0
        const before = this.#findMark.get(event.log_id)
        if (before && before.repriced >= repriced) continue
        this.#mark.run(event.log_id, repriced)
        const total = changed.get(event.account_id) ?? this.#read(event.account_id)
        if (before) total.unpriced -= 1
        else total.requests += 1
        if (event.cost === null) total.unpriced += 1
        else total.cost = total.cost.plus(event.cost)
        changed.set(event.account_id, total)
      }
      for (const { account, requests, unpriced, cost } of changed.values()) {
        this.#store.run(account, requests, unpriced, cost.toFixed())
      }
      this.#database.exec('COMMIT')
    } catch (error) {
      this.#database.exec('ROLLBACK')
      throw error
    }
    return [...changed.values()]
  }

  close() {
    this.#database.close()
  }

  #read(account) {
    const row = this.#find.get(account) ?? { requests: 0, unpriced: 0, cost: '0' }
    return { account, requests: row.requests, unpriced: row.unpriced, cost: new Big(row.cost) }
  }
}
