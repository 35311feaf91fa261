//! rumqttc in MQTT 5.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason, Publish, PublishProperties,
    RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
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
        .set_clean_start(flag(word, "clean"))
        .set_keep_alive(Duration::from_secs(60))
        .set_max_packet_size(u32::try_from(PACKET_BYTES_MAX).ok())
        .set_session_expiry_interval(seconds(word, "session_expiry_s"));
    if let Some(will) = word.get("will") {
        let properties = LastWillProperties {
            delay_interval: seconds(will, "delay_s"),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let (topic, payload) = (text(will, "topic"), text(will, "payload"));
        options.set_last_will(LastWill::new(topic, payload, qos(will), flag(will, "retain"), Some(properties)));
    }
    options
}

async fn do_all(client: &AsyncClient, words: &mut Receiver<Value>, again: &Notify) {
    while let Some(word) = words.recv().await {
        let asked = match text(&word, "do").as_str() {
            "publish" => {
                let (topic, payload) = (text(&word, "topic"), text(&word, "payload"));
                let (retain, properties) = (flag(&word, "retain"), properties(&word));
                client.publish_with_properties(topic, qos(&word), retain, payload, properties).await
            }
            "subscribe" => client.subscribe_many([filter(&word)]).await,
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
        Event::Incoming(Packet::Publish(publish)) => message(&publish),
        Event::Outgoing(Outgoing::Publish(0)) | Event::Incoming(Packet::PubComp(_)) => {
            json!({"event": "published", "code": 0})
        }
        Event::Incoming(Packet::PubAck(puback)) => {
            let code = match puback.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => 0,
                PubAckReason::NotAuthorized => 0x87,
                _ => 0x80,
            };
            json!({"event": "published", "code": code})
        }
        Event::Incoming(Packet::SubAck(suback)) => {
            let code = match suback.return_codes[0] {
                SubscribeReasonCode::Success(qos) => qos as u8,
                SubscribeReasonCode::NotAuthorized => 0x87,
                _ => 0x80,
            };
            json!({"event": "subscribed", "code": code})
        }
        Event::Incoming(Packet::UnsubAck(_)) => json!({"event": "unsubscribed"}),
        _ => return None,
    };
    Some(told)
}

fn message(publish: &Publish) -> Value {
    let of = publish.properties.clone().unwrap_or_default();
    let mut shown = json!({});
    let mut show = |name: &str, value: Value| {
        if !value.is_null() {
            shown[name] = value;
        }
    };
    show("content_type", json!(of.content_type));
    show("response_topic", json!(of.response_topic));
    show("correlation", json!(of.correlation_data.map(|data| String::from_utf8_lossy(&data).into_owned())));
    show("expiry_s", json!(of.message_expiry_interval));
    if !of.user_properties.is_empty() {
        show("user", json!(of.user_properties));
    }
    json!({
        "event": "message",
        "topic": String::from_utf8_lossy(&publish.topic),
        "payload": String::from_utf8_lossy(&publish.payload),
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "dup": publish.dup,
        "properties": shown,
    })
}

fn properties(word: &Value) -> PublishProperties {
    let given = |name: &str| word[name].as_str().map(str::to_owned);
    let user = word["user"].as_array().into_iter().flatten();
    let pair = |pair: &Value| (pair[0].as_str().expect("text").to_owned(), pair[1].as_str().expect("text").to_owned());
    PublishProperties {
        message_expiry_interval: seconds(word, "expiry_s"),
        response_topic: given("response_topic"),
        correlation_data: given("correlation").map(Bytes::from),
        user_properties: user.map(pair).collect(),
        content_type: given("content_type"),
        ..PublishProperties::default()
    }
}

fn filter(word: &Value) -> Filter {
    Filter {
        path: text(word, "filter"),
        qos: qos(word),
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::OnEverySubscribe,
    }
}

fn refusal(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::NotAuthorized => 0x87,
        _ => 0x80,
    }
}

fn seconds(word: &Value, name: &str) -> Option<u32> {
    word[name].as_u64().map(|seconds| u32::try_from(seconds).expect("seconds"))
}

fn qos(word: &Value) -> QoS {
    match word["qos"].as_u64() {
        Some(0) => QoS::AtMostOnce,
        Some(1) => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
