// A client on MQTT.js that does what it is told. `actors/mod.rs` explains the words.

const fs = require('node:fs')
const readline = require('node:readline')
const mqtt = require('mqtt')

const place = JSON.parse(process.argv[process.argv.length - 1])
const file = (path) => (path ? fs.readFileSync(path) : undefined)
const VERSIONS = { 3.1: 3, '3.1.1': 4, 5: 5 }
// MQTT.js gives the return codes of 3.x as they are; the others speak in the words of MQTT 5.
const RETURN_CODES = { 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87 }

let client
let saidGoodbye = false
let wasRefused = false

function tell(event, more) {
  process.stdout.write(JSON.stringify({ event, ...more }) + '\n')
}

// Without what is not set: MQTT.js would send it.
function present(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}

function properties(words) {
  const user = {}
  for (const [name, value] of words.user || []) user[name] = [...(user[name] || []), value]
  return present({
    contentType: words.content_type,
    responseTopic: words.response_topic,
    correlationData: words.correlation === undefined ? undefined : Buffer.from(words.correlation),
    userProperties: words.user ? user : undefined,
    messageExpiryInterval: words.expiry_s,
    topicAlias: words.alias,
    willDelayInterval: words.delay_s
  })
}

function shown(of = {}) {
  const pairs = Object.entries(of.userProperties || {})
  return present({
    content_type: of.contentType,
    response_topic: of.responseTopic,
    correlation: of.correlationData && of.correlationData.toString(),
    user: of.userProperties && pairs.flatMap(([name, values]) => [values].flat().map((value) => [name, value])),
    expiry_s: of.messageExpiryInterval,
    identifiers: of.subscriptionIdentifier && [of.subscriptionIdentifier].flat()
  })
}

function options(words) {
  const { will } = words
  const is5 = words.version === '5'
  return {
    protocolId: words.version === '3.1' ? 'MQIsdp' : 'MQTT',
    protocolVersion: VERSIONS[words.version],
    clientId: words.client_id,
    clean: words.clean,
    ca: file(place.ca),
    cert: file(place.cert),
    key: file(place.key),
    reconnectPeriod: 0,
    connectTimeout: 25000,
    resubscribe: false,
    autoAssignTopicAlias: Boolean(words.assign_aliases),
    will: will && { ...will, properties: is5 ? properties(will) : undefined },
    properties: is5
      ? present({
          sessionExpiryInterval: words.session_expiry_s,
          receiveMaximum: words.receive_maximum,
          maximumPacketSize: words.packet_bytes_max,
          topicAliasMaximum: words.aliases_max
        })
      : undefined
  }
}

function connect(words) {
  client = mqtt.connect(place.url, options(words))
  // MQTT.js itself tells it later, when all is answered that it publishes again.
  client.on('packetreceive', (packet) => {
    if (packet.cmd !== 'connack' || packet.returnCode || packet.reasonCode) return
    const assigned = packet.properties && packet.properties.assignedClientIdentifier
    tell('connected', { session_present: packet.sessionPresent, assigned })
  })
  client.on('error', (error) => {
    if (typeof error.code !== 'number') return
    wasRefused = true
    tell('refused', { code: RETURN_CODES[error.code] || error.code })
  })
  client.on('close', () => {
    if (saidGoodbye) tell('disconnected')
    else if (!wasRefused) tell('closed')
  })
  client.on('message', (topic, payload, packet) => {
    const { qos, retain, dup } = packet
    const properties = shown(packet.properties)
    // Sent without its name, which an alias stood for.
    if (packet.topic === '') properties.by_alias = true
    tell('message', { topic, payload: payload.toString(), qos, retain, dup, properties })
  })
}

function code(error) {
  return error ? error.code || 0x80 : 0
}

const deeds = {
  connect,
  // With what it remembers of its session.
  reconnect: () => client.reconnect({ incomingStore: client.incomingStore, outgoingStore: client.outgoingStore }),
  publish: (words) => {
    const { topic, payload, qos, retain } = words
    client.publish(topic, payload, { qos, retain, properties: properties(words) }, (error) =>
      tell('published', { code: code(error) })
    )
  },
  subscribe: (words) => {
    const more = { qos: words.qos, nl: words.no_local, rap: words.retain_as_published, rh: words.retain_handling }
    const identifier = words.identifier && { subscriptionIdentifier: words.identifier }
    client.subscribe(words.filter, { ...more, properties: identifier }, (error, granted) =>
      tell('subscribed', { code: error ? code(error) : granted[0].qos })
    )
  },
  unsubscribe: (words) => client.unsubscribe(words.filter, () => tell('unsubscribed')),
  disconnect: (words) => {
    saidGoodbye = true
    client.end(false, { reasonCode: words.code || 0 })
  }
}

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const words = JSON.parse(line)
    deeds[words.do](words)
  })
  // Whoever gave the words is gone: an end without a goodbye.
  .on('close', () => process.exit(0))
