//! nats-server: its configuration, JetStream behind an MQTT listener, each message synced.

use super::peer::{Invocation, Places, Speaks};

/// `max_ack_pending` is what the other brokers' receivers announce as their Receive Maximum. The port of NATS' own
/// protocol is not used; -1 lets the system choose one.
pub fn invocation(places: &Places<'_>) -> Invocation {
    let certificates = &places.certificates;
    let configuration = format!(
        "server_name: bench\n\
         listen: \"127.0.0.1:-1\"\n\
         jetstream {{ store_dir: {store:?}, sync_interval: always }}\n\
         mqtt {{\n\
           listen: \"127.0.0.1:{port}\"\n\
           max_ack_pending: {pending}\n\
           tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}\n\
         }}\n",
        store = places.store.display().to_string(),
        port = places.port,
        pending = crate::scene::DELIVERIES_INFLIGHT,
        ca = certificates.ca(),
        certificate = certificates.certificate(),
        key = certificates.key(),
    );
    Invocation { configuration, speaks: Speaks::Mqtt311Alone, saving: None }
}
