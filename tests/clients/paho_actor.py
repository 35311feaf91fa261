"""A client on paho-mqtt that does what it is told. `actors/mod.rs` explains the words."""

import json
import os
import ssl
import sys
import threading
from urllib.parse import urlparse

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
# Our words, paho's, and how a value becomes paho's.
PROPERTIES = [
    ("content_type", "ContentType", str),
    ("response_topic", "ResponseTopic", str),
    ("correlation", "CorrelationData", str.encode),
    ("user", "UserProperty", lambda pairs: [tuple(pair) for pair in pairs]),
    ("expiry_s", "MessageExpiryInterval", int),
    ("alias", "TopicAlias", int),
    ("delay_s", "WillDelayInterval", int),
]

place = json.loads(sys.argv[1])
telling = threading.Lock()


def tell(event, **more):
    with telling:
        print(json.dumps({"event": event, **more}), flush=True)


def properties(kind, words):
    """Those of a packet of this kind, where there are any."""
    made = Properties(kind)
    for ours, theirs, convert in PROPERTIES:
        if ours in words:
            setattr(made, theirs, convert(words[ours]))
    return None if made.isEmpty() else made


def shown(message):
    more = {}
    for ours, theirs, _ in PROPERTIES:
        value = getattr(message.properties, theirs, None)
        if value is not None:
            more[ours] = value.decode() if isinstance(value, bytes) else value
    identifiers = getattr(message.properties, "SubscriptionIdentifier", None)
    return {**more, "identifiers": identifiers} if identifiers else more


class Actor:
    def __init__(self, words):
        self.is_5 = words["version"] == "5"
        self.said_goodbye = self.was_refused = False
        session = {} if self.is_5 else {"clean_session": words["clean"]}
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=words["client_id"],
            protocol=VERSIONS[words["version"]],
            reconnect_on_failure=False,
            manual_ack=words.get("silent", False),
            **session,
        )
        if "ca" in place:
            client.tls_set(place["ca"], place["cert"], place["key"], tls_version=ssl.PROTOCOL_TLS_CLIENT)
        client.on_connect, client.on_disconnect = self.on_connect, self.on_disconnect
        client.on_message = self.on_message
        client.on_publish = lambda client, userdata, mid, code, properties: tell("published", code=code.value)
        client.on_subscribe = lambda client, userdata, mid, codes, properties: tell("subscribed", code=codes[0].value)
        client.on_unsubscribe = lambda client, userdata, mid, codes, properties: tell("unsubscribed")
        if will := words.get("will"):
            more = properties(PacketTypes.WILLMESSAGE, will) if self.is_5 else None
            client.will_set(will["topic"], will["payload"], will["qos"], will["retain"], more)
        more = {"clean_start": words["clean"], "properties": self.connect_properties(words)} if self.is_5 else {}
        url = urlparse(place["url"])
        client.connect(url.hostname, url.port, **more)
        client.loop_start()

    @staticmethod
    def connect_properties(words):
        made = Properties(PacketTypes.CONNECT)
        for ours, theirs in [
            ("session_expiry_s", "SessionExpiryInterval"),
            ("receive_maximum", "ReceiveMaximum"),
            ("packet_bytes_max", "MaximumPacketSize"),
        ]:
            if ours in words:
                setattr(made, theirs, words[ours])
        return made

    def on_connect(self, client, userdata, flags, code, properties):
        if code.is_failure:
            self.was_refused = True
            tell("refused", code=code.value)
        else:
            assigned = getattr(properties, "AssignedClientIdentifier", None)
            tell("connected", session_present=bool(flags.session_present), assigned=assigned)

    def on_disconnect(self, client, userdata, flags, code, properties):
        if self.said_goodbye:
            tell("disconnected")
        elif not self.was_refused:
            tell("closed", code=code.value)

    def on_message(self, client, userdata, message):
        tell(
            "message",
            topic=message.topic,
            payload=message.payload.decode(),
            qos=message.qos,
            retain=bool(message.retain),
            dup=bool(message.dup),
            properties=shown(message) if self.is_5 else {},
        )

    def reconnect(self, words):
        self.client.reconnect()
        self.client.loop_start()

    def publish(self, words):
        more = properties(PacketTypes.PUBLISH, words) if self.is_5 else None
        self.client.publish(words["topic"], words["payload"], words["qos"], words["retain"], more)

    def subscribe(self, words):
        if not self.is_5:
            self.client.subscribe(words["filter"], words["qos"])
            return
        options = SubscribeOptions(
            words["qos"],
            words.get("no_local", False),
            words.get("retain_as_published", False),
            words.get("retain_handling", 0),
        )
        more = None
        if "identifier" in words:
            more = Properties(PacketTypes.SUBSCRIBE)
            more.SubscriptionIdentifier = words["identifier"]
        self.client.subscribe(words["filter"], options=options, properties=more)

    def unsubscribe(self, words):
        self.client.unsubscribe(words["filter"])

    def disconnect(self, words):
        self.said_goodbye = True
        code = ReasonCode(PacketTypes.DISCONNECT, identifier=words["code"]) if "code" in words else None
        self.client.disconnect(code)


actor = None
for line in sys.stdin:
    words = json.loads(line)
    if words["do"] == "connect":
        actor = Actor(words)
    else:
        getattr(actor, words["do"])(words)
# Whoever gave the words is gone: an end without a goodbye.
os._exit(0)
