//! rumqttc in MQTT 3.1.1.

use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
    SubscribeReasonCode,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender};

use super::rumqttc_place::{PACKET_BYTES_MAX, REQUESTS_MAX, broker, flag, text, transport};

/// Connects as the first word says, then does what the others say, until nobody gives them any more.
pub async fn play(place: Value, mut words: Receiver<Value>, events: Sender<Value>) {
    let Some(first) = words.recv().await else { return };
    let (client, event_loop) = AsyncClient::new(options(&place, &first), REQUESTS_MAX);
    let again = Notify::new();
    // Two loops, neither of which is ever cancelled in the middle: rumqttc would forget a request.
    tokio::select! {
        () = do_all(&client, &mut words, &again) => {}
        () = poll(event_loop, &events, &again) => {}
    }
}

fn options(place: &Value, word: &Value) -> MqttOptions {
    let (host, port) = broker(place);
    let mut options = MqttOptions::new(text(word, "client_id"), host, port);
    options
        .set_transport(transport(place))
        .set_clean_session(flag(word, "clean"))
        .set_keep_alive(Duration::from_secs(60))
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some(will) = word.get("will") {
        let last_will = LastWill::new(text(will, "topic"), text(will, "payload"), qos(will), flag(will, "retain"));
        options.set_last_will(last_will);
    }
    options
}

async fn do_all(client: &AsyncClient, words: &mut Receiver<Value>, again: &Notify) {
    while let Some(word) = words.recv().await {
        let asked = match text(&word, "do").as_str() {
            "publish" => {
                let (topic, payload) = (text(&word, "topic"), text(&word, "payload"));
                client.publish(topic, qos(&word), flag(&word, "retain"), payload).await
            }
            "subscribe" => client.subscribe(text(&word, "filter"), qos(&word)).await,
            "unsubscribe" => client.unsubscribe(text(&word, "filter")).await,
            "disconnect" => client.disconnect().await,
            "reconnect" => {
                again.notify_one();
                Ok(())
            }
            other => panic!("rumqttc does not {other}"),
        };
        asked.expect("an event loop");
    }
}

async fn poll(mut event_loop: EventLoop, events: &Sender<Value>, again: &Notify) {
    let mut said_goodbye = false;
    loop {
        let polled = event_loop.poll().await;
        said_goodbye |= matches!(polled, Ok(Event::Outgoing(Outgoing::Disconnect)));
        let is_lost = polled.is_err();
        let told = match polled {
            Ok(event) => told(event),
            Err(_) if said_goodbye => Some(json!({"event": "disconnected"})),
            Err(ConnectionError::ConnectionRefused(code)) => Some(json!({"event": "refused", "code": refusal(code)})),
            Err(_) => Some(json!({"event": "closed"})),
        };
        if let Some(told) = told
            && events.send(told).await.is_err()
        {
            return;
        }
        if is_lost {
            again.notified().await;
        }
    }
}

fn told(event: Event) -> Option<Value> {
    let told = match event {
        Event::Incoming(Packet::ConnAck(connack)) => {
            json!({"event": "connected", "session_present": connack.session_present})
        }
        Event::Incoming(Packet::Publish(publish)) => json!({
            "event": "message",
            "topic": publish.topic,
            "payload": String::from_utf8_lossy(&publish.payload),
            "qos": publish.qos as u8,
            "retain": publish.retain,
            "dup": publish.dup,
            "properties": {},
        }),
        Event::Outgoing(Outgoing::Publish(0)) | Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => {
            json!({"event": "published", "code": 0})
        }
        Event::Incoming(Packet::SubAck(suback)) => {
            let code = match suback.return_codes[0] {
                SubscribeReasonCode::Success(qos) => qos as u8,
                SubscribeReasonCode::Failure => 0x80,
            };
            json!({"event": "subscribed", "code": code})
        }
        Event::Incoming(Packet::UnsubAck(_)) => json!({"event": "unsubscribed"}),
        _ => return None,
    };
    Some(told)
}

/// The reason code of MQTT 5 for the return code of CONNACK.
fn refusal(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::Success => 0,
        ConnectReturnCode::RefusedProtocolVersion => 0x84,
        ConnectReturnCode::BadClientId => 0x85,
        ConnectReturnCode::ServiceUnavailable => 0x88,
        ConnectReturnCode::BadUserNamePassword => 0x86,
        ConnectReturnCode::NotAuthorized => 0x87,
    }
}

fn qos(word: &Value) -> QoS {
    match word["qos"].as_u64() {
        Some(0) => QoS::AtMostOnce,
        Some(1) => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
