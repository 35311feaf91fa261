"""One party on paho-mqtt: hears the p2p message of its transaction and echoes it into a slot of its own."""

import ssl
import sys
import threading

import paho.mqtt.client as mqtt

version, host, port, certs, party, tx = sys.argv[1:]
heard, done = [], threading.Event()


def on_connect(client, userdata, flags, reason_code, properties):
    if reason_code.is_failure:
        sys.exit(f"connect: {reason_code}")
    client.subscribe(f"tx/{tx}/p2p/#", qos=1)


def on_message(client, userdata, message):
    heard.append(message.payload)
    client.publish(f"tx/{tx}/echo/1/{party}", message.payload, qos=1)


def on_publish(client, userdata, mid, reason_code, properties):
    done.set()


protocol = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho", protocol=protocol)
client.tls_set(f"{certs}/ca.pem", f"{certs}/{party}.pem", f"{certs}/{party}.key.pem", tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.on_connect, client.on_message, client.on_publish = on_connect, on_message, on_publish
client.connect(host, int(port))
client.loop_start()
if not done.wait(20):
    sys.exit("nothing was acknowledged within 20 s")
client.disconnect()
client.loop_stop()
print("heard:", heard[0].decode())
