//! rumqttc in MQTT 3.1.1 over crashes; see [`super::rumqttc_v5`] for what it is used for, and what not.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter};
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::ground::{BETWEEN_ATTEMPTS, Ground, Phase, Speech};
use super::model::{EarId, Heard};
use crate::actors::rumqttc_place::{PACKET_BYTES_MAX, REQUESTS_MAX, broker, transport};

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(3);

fn client(place: &Value, client_id: &str) -> (AsyncClient, EventLoop) {
    let (host, port) = broker(place);
    let mut options = MqttOptions::new(client_id, host, port);
    options
        .set_transport(transport(place))
        .set_clean_session(false)
        .set_keep_alive(Duration::from_secs(60))
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
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
            Ok(Event::Incoming(Packet::PubAck(_))) => return ground.model().taken(said.id),
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
    let filters = filters.into_iter().map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
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
            Ok(event) => hear(&ground, ear, event),
            Err(_) => {
                // rumqttc tells these after the CONNACK of the next connection, though they came over the last one.
                for event in std::mem::take(&mut event_loop.state.events) {
                    hear(&ground, ear, event);
                }
                sleep(BETWEEN_ATTEMPTS).await;
            }
        }
    }
}

fn hear(ground: &Ground, ear: EarId, event: Event) {
    if let Event::Incoming(Packet::Publish(publish)) = event {
        let (topic, payload, qos) = (&publish.topic, &publish.payload, publish.qos as u8);
        ground.model().hears(ear, &Heard { topic, payload, qos, place: None, from: None });
    }
}
