// Reads `usage.rated` and prints, for each account, how many calls it made and what they cost.
//
//   KAFKA_BOOTSTRAP  host:port, several with commas; localhost:9092 by default
//   GROUP_ID         the consumer group; take a name of your own
//   TOTALS_FILE      where the totals are kept

import { Consumer } from '@platformatic/kafka'

import { Totals } from './totals.mjs'

const { KAFKA_BOOTSTRAP = 'localhost:9092', GROUP_ID = 'usage-totals', TOTALS_FILE = 'totals.db' } = process.env
const MAX_BATCH = 500

const totals = new Totals(TOTALS_FILE)
const consumer = new Consumer({
  clientId: 'usage-totals',
  groupId: GROUP_ID,
  bootstrapBrokers: KAFKA_BOOTSTRAP.split(','),
  sessionTimeout: 10_000 // ms: so long nobody reads the partitions of a member that was killed
})
const stream = await consumer.consume({
  topics: ['usage.rated'],
  mode: 'committed', // go on where the group stands,
  fallbackMode: 'earliest', // and at the oldest record where it stands nowhere: the default would skip them all
  autocommit: false // a position is committed when its records are stored, never before
})

// Leaving the loop in order hands the partitions to others at once. It loses nothing to be killed instead.
let stopping = false
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    stopping = true
    stream.close().catch(() => {})
  })
}

let batch = []
try {
  for await (const message of stream) {
    batch.push(message)
    if (batch.length < MAX_BATCH && stream.readableLength > 0) continue
    for (const { account, requests, unpriced, cost } of totals.add(batch.map(read))) {
      console.log(`${account} requests=${requests} unpriced=${unpriced} cost=${cost.toFixed()}`)
    }
    await commit(batch)
    batch = []
  }
} catch (error) {
  if (!stopping) throw error
}
await consumer.close(true)
totals.close()

// An unknown version means another shape. To stop is better than to add up what it might mean.
function read(message) {
  const event = JSON.parse(String(message.value))
  if (event.v !== 1) {
    throw new Error(`${message.topic}/${message.partition}/${message.offset} has version ${event.v}`)
  }
  return event
}

// Stored first, committed after: a crash in between repeats records, and repeats are passed over.
async function commit(messages) {
  const newest = new Map(messages.map((message) => [message.partition, message]))
  await Promise.all([...newest.values()].map((message) => message.commit()))
}
