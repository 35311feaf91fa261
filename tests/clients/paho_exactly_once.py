"""One party on paho-mqtt at QoS 2 whose broker is killed again and again: says numbers, or hears them until all are there."""

import ssl
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

version, host, port, certs, party, tx, role, count = sys.argv[1:]
count = int(count)
heard, completed, subscribed, done, over = [], set(), threading.Event(), threading.Event(), threading.Event()


def on_connect(client, userdata, flags, reason_code, properties):
    if role == "hear" and not subscribed.is_set():
        client.subscribe(f"tx/{tx}/msg/+/n", qos=2)


def on_subscribe(client, userdata, mid, reason_codes, properties):
    subscribed.set()


def on_message(client, userdata, message):
    if message.qos != 2:
        sys.exit(f"came at QoS {message.qos}")
    heard.append(message.payload.decode())
    if len(set(heard)) == count:
        done.set()


def on_publish(client, userdata, mid, reason_code, properties):
    completed.add(mid)
    if len(completed) == count:
        done.set()


def reconnect():
    """paho 2.1 forgets at its second attempt in a row that it has a PUBREC, and would publish anew (its
    `_messages_reconnect_reset_out` knows nothing of messages whose PUBREL is to be sent again); so it is reminded."""
    while True:
        with client._out_message_mutex:
            for message in client._out_messages.values():
                if message.state == mqtt.mqtt_ms_resend_pubrel:
                    message.state = mqtt.mqtt_ms_wait_for_pubcomp
        try:
            return client.reconnect()
        except OSError:
            time.sleep(0.05)


def connect(**how):
    """The broker may be down already when this begins."""
    try:
        client.connect(host, int(port), **how)
    except OSError:
        reconnect()


def stay_connected():
    client.loop_forever()
    while not over.is_set():
        reconnect()
        client.loop_forever()


arguments = {"protocol": mqtt.MQTTv311, "clean_session": False} if version == "3.1.1" else {"protocol": mqtt.MQTTv5}
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{role}", reconnect_on_failure=False, **arguments)
client.tls_set(f"{certs}/ca.pem", f"{certs}/{party}.pem", f"{certs}/{party}.key.pem", tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.on_connect, client.on_subscribe = on_connect, on_subscribe
client.on_message, client.on_publish = on_message, on_publish
if version == "3.1.1":
    connect()
else:
    keep = Properties(PacketTypes.CONNECT)
    keep.SessionExpiryInterval = 3600
    connect(clean_start=False, properties=keep)
threading.Thread(target=stay_connected, daemon=True).start()
if role == "say":
    for number in range(count):
        client.publish(f"tx/{tx}/msg/{party}/n", str(number), qos=2)
        time.sleep(0.01)
if not done.wait(60):
    sys.exit(f"of {count} only {len(completed)} were completed and {len(set(heard))} heard")
# Whatever would come a second time comes now.
time.sleep(0.5)
over.set()
client.disconnect()
for number in heard:
    print(number)
