//! rumqttc in MQTT 5 over crashes: at QoS 1, since at QoS 2 it takes the PUBREL of what it received before a reconnect for
//! a broken protocol and closes the connection, each time anew. It publishes one message at a time, so that an answer is
//! the answer to that.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::ground::{BETWEEN_ATTEMPTS, Ground, Phase, Speech};
use super::model::{EarId, Heard, SLOT_TAKEN};
use crate::actors::rumqttc_place::{PACKET_BYTES_MAX, REQUESTS_MAX, broker, transport};

const SESSION_EXPIRY_S: u32 = 3600;
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(3);

fn client(place: &Value, client_id: &str) -> (AsyncClient, EventLoop) {
    let (host, port) = broker(place);
    let mut options = MqttOptions::new(client_id, host, port);
    options
        .set_transport(transport(place))
        .set_clean_start(false)
        .set_keep_alive(Duration::from_secs(60))
        .set_max_packet_size(u32::try_from(PACKET_BYTES_MAX).ok())
        .set_session_expiry_interval(Some(SESSION_EXPIRY_S));
    AsyncClient::new(options, REQUESTS_MAX)
}

/// Publishes until the load is gone.
pub async fn speak(mut speech: Speech, place: Value, mut phase: watch::Receiver<Phase>) {
    let (client, mut event_loop) = client(&place, &speech.voice().name);
    let mut has_session = false;
    while phase.wait_for(|phase| *phase == Phase::Speak).await.is_ok() {
        say(&mut speech, &client, &mut event_loop, &mut has_session).await;
        sleep(PAUSE).await;
    }
}

async fn say(speech: &mut Speech, client: &AsyncClient, event_loop: &mut EventLoop, has_session: &mut bool) {
    let said = speech.next();
    let ground = Arc::clone(speech.ground());
    client.publish(said.topic, QoS::AtLeastOnce, false, said.payload).await.expect("an event loop");
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::PubAck(answer))) => {
                let mut model = ground.model();
                return match answer.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => model.taken(said.id),
                    // rumqttc has no numbers for its reasons.
                    PubAckReason::ImplementationSpecificError => model.refused(said.id, SLOT_TAKEN),
                    _ => model.refused(said.id, 0x80),
                };
            }
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                if connack.session_present != *has_session {
                    ground.model().fault(format!("{}: another session", speech.voice().name));
                }
                *has_session = true;
            }
            Ok(_) => {}
            Err(_) => {
                // rumqttc sends it again by itself.
                ground.model().says_again(said.id);
                sleep(BETWEEN_ATTEMPTS).await;
            }
        }
    }
}

/// Listens until it is aborted; `ready` is told when it has subscribed.
pub async fn listen(
    ground: Arc<Ground>,
    ear: EarId,
    client_id: String,
    place: Value,
    filters: Vec<String>,
    ready: oneshot::Sender<()>,
) {
    let (client, mut event_loop) = client(&place, &client_id);
    let filters = filters.into_iter().map(|filter| Filter::new(filter, QoS::AtLeastOnce));
    client.subscribe_many(filters).await.expect("an event loop");
    let mut ready = Some(ready);
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                let mut model = ground.model();
                model.connects(ear);
                if connack.session_present == ready.is_some() {
                    model.fault(format!("{client_id}: another session"));
                }
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                // Whoever does not wait for it does not care.
                let _ = ready.take().map(|ready| ready.send(()));
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => hear(&ground, ear, &publish),
            Ok(_) => {}
            Err(_) => sleep(BETWEEN_ATTEMPTS).await,
        }
    }
}

fn hear(ground: &Ground, ear: EarId, publish: &Publish) {
    let properties = publish.properties.as_ref();
    let property = |name: &str| {
        let mut pairs = properties.into_iter().flat_map(|properties| &properties.user_properties);
        pairs.find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    };
    let topic = std::str::from_utf8(&publish.topic).expect("a topic is text");
    ground.model().hears(
        ear,
        &Heard {
            topic,
            payload: &publish.payload,
            qos: publish.qos as u8,
            place: property("quorate-seq").and_then(|seq| seq.parse().ok()),
            from: property("quorate-from"),
        },
    );
}
