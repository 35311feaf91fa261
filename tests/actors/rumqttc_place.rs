//! What both versions of rumqttc's client begin with.

use rumqttc::{TlsConfiguration, Transport};
use serde_json::Value;

/// rumqttc refuses larger packets itself; more than any test says.
pub const PACKET_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Requests that wait for rumqttc's event loop.
pub const REQUESTS_MAX: usize = 64;

/// Host and port of the `url`.
pub fn broker(place: &Value) -> (String, u16) {
    let url = text(place, "url");
    let (_, address) = url.split_once("://").expect("a URL");
    let (host, port) = address.rsplit_once(':').expect("a port");
    (host.to_owned(), port.parse().expect("a port"))
}

pub fn transport(place: &Value) -> Transport {
    if place.get("ca").is_none() {
        return Transport::Tcp;
    }
    let file = |name: &str| std::fs::read(text(place, name)).expect("a certificate");
    Transport::tls_with_config(TlsConfiguration::Simple {
        ca: file("ca"),
        alpn: None,
        client_auth: Some((file("cert"), file("key"))),
    })
}

pub fn text(word: &Value, name: &str) -> String {
    word[name].as_str().unwrap_or_else(|| panic!("no {name} in {word}")).to_owned()
}

pub fn flag(word: &Value, name: &str) -> bool {
    word[name].as_bool().unwrap_or_else(|| panic!("no {name} in {word}"))
}
