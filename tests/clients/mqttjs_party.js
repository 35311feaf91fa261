// One party on MQTT.js. Its only argument is JSON:
//   url, version (4: 3.1.1, 5), client_id, and for TLS ca, cert, key (PEM files; cert and key may be missing);
//   publish: [[topic, payload], ...] at QoS 1, each acknowledged before the next; a payload {"x": n} is n times "x";
//   subscribe: a filter, and expect: how many messages to wait for.
// It prints what it heard, a line of JSON a message: {topic, payload}, of long payloads {topic, bytes, all_x}.

const fs = require('node:fs')
const mqtt = require('mqtt')

const task = JSON.parse(process.argv[process.argv.length - 1])
const file = (path) => (path ? fs.readFileSync(path) : undefined)
const LONG = 1000

function fail(what, error) {
  console.error(`${what}: ${error && (error.message || error.code)}`)
  process.exit(1)
}

function shown(topic, payload) {
  if (payload.length < LONG) return { topic, payload: payload.toString() }
  return { topic, bytes: payload.length, all_x: payload.every((byte) => byte === 0x78) }
}

async function main() {
  const client = mqtt.connect(task.url, {
    protocolVersion: task.version,
    clientId: task.client_id,
    ca: file(task.ca),
    cert: file(task.cert),
    key: file(task.key),
    reconnectPeriod: 0,
    connectTimeout: 20000
  })
  await new Promise((resolve, reject) => {
    client.once('connect', resolve)
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed')))
  }).catch((error) => fail('connect', error))
  const heard = new Promise((resolve) => {
    let count = 0
    client.on('message', (topic, payload) => {
      console.log(JSON.stringify(shown(topic, payload)))
      count += 1
      if (count === task.expect) resolve()
    })
  })
  for (const [topic, payload] of task.publish || []) {
    const bytes = typeof payload === 'string' ? payload : 'x'.repeat(payload.x)
    await client.publishAsync(topic, bytes, { qos: 1 }).catch((error) => fail(topic, error))
  }
  if (task.subscribe) {
    await client.subscribeAsync(task.subscribe, { qos: 1 }).catch((error) => fail(task.subscribe, error))
    await heard
  }
  await client.endAsync()
}

setTimeout(() => fail('too slow', new Error('nothing happened for 25 s')), 25000).unref()
main().catch((error) => fail('failed', error))
