//! The `[[listener]]` tables: what each is by itself, and what they and the API must be together.

use std::net::SocketAddr;
use std::ops::Range;

use quorate_identity::DangerAnonymous;
use serde_spanned::Spanned;

use super::check::{TIMEOUT_MS, tls, to_u32, to_usize};
use super::checker::{Checker, Table};
use super::raw::{Field, RawListener};
use super::{ApiConfig, Encryption, Framing, Listener, Origin};

/// MQTT's own limit of a packet (MQTT5 1.5.5), header included.
const PACKET_BYTES_LIMIT: u64 = 268_435_460;

/// `kind`, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tls,
    Wss,
    Tcp,
    Ws,
}

impl Kind {
    const NAMES: [(&str, Kind); 4] = [("tls", Kind::Tls), ("wss", Kind::Wss), ("tcp", Kind::Tcp), ("ws", Kind::Ws)];

    fn name(self) -> &'static str {
        match self {
            Kind::Tls => "tls",
            Kind::Wss => "wss",
            Kind::Tcp => "tcp",
            Kind::Ws => "ws",
        }
    }

    fn is_dangerous(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Ws)
    }

    fn is_web_socket(self) -> bool {
        matches!(self, Kind::Wss | Kind::Ws)
    }
}

/// Something that listens: what it became, and what must differ from the others, or agree with them.
pub(super) struct Placed<T> {
    pub(super) value: Option<T>,
    pub(super) table: Table,
    pub(super) name: Option<(String, Range<usize>)>,
    /// Of a listener, with the place where it is said, if it is.
    pub(super) kind: Option<(Kind, Option<Range<usize>>)>,
    pub(super) address: Option<(SocketAddr, Range<usize>)>,
}

pub(super) fn listeners(checker: &mut Checker<'_>, raw: Vec<Spanned<RawListener>>) -> Vec<Placed<Listener>> {
    if raw.is_empty() {
        checker.problem("listener", None, "at least one [[listener]] is needed");
    }
    raw.into_iter().enumerate().map(|(index, raw)| listener(checker, index, raw)).collect()
}

fn listener(checker: &mut Checker<'_>, index: usize, raw: Spanned<RawListener>) -> Placed<Listener> {
    let table = Table::new(format!("listener[{index}]"), Some(raw.span()));
    let mut raw = raw.into_inner();
    let name = checker.required(&table, "name", raw.name.take());
    let kind_span = raw.kind.as_ref().map(|kind| kind.span.clone()).or_else(|| table.span());
    let kind = checker.choice(&table, "kind", raw.kind.take(), &Kind::NAMES);
    let address = checker.address(&table, raw.address.take());
    let connect_timeout =
        checker.duration_ms(&table, "connect_timeout_ms", raw.connect_timeout_ms.take(), 10_000, TIMEOUT_MS);
    let connections_max = checker.number(&table, "connections_max", raw.connections_max.take(), 10_000, 1..=1_000_000);
    let of_party = raw.connections_per_party_max.take();
    let of_party = checker.number(&table, "connections_per_party_max", of_party, 100, 1..=1_000_000);
    let packet_bytes_max =
        checker.number(&table, "packet_bytes_max", raw.packet_bytes_max.take(), 1_114_112, 1_024..=PACKET_BYTES_LIMIT);
    let kind = kind.map(|kind| (kind, kind_span));
    let manner = kind.clone().and_then(|(kind, span)| {
        let handshake_timeout = handshake_timeout(checker, &table, kind, raw.handshake_timeout_ms.take());
        let framing = framing(checker, &table, kind, raw.origins.take());
        let encryption = match kind.is_dangerous() {
            true => danger(checker, &table, (kind, span), &address, raw),
            false => protected(checker, &table, kind, raw),
        };
        Some((handshake_timeout, framing, encryption?))
    });
    let value = (|| {
        let (handshake_timeout, framing, encryption) = manner?;
        Some(Listener {
            name: name.clone()?.0,
            address: address.clone()?.0,
            encryption,
            framing,
            handshake_timeout,
            connect_timeout,
            connections_max: to_usize(connections_max),
            connections_per_party_max: to_usize(of_party),
            packet_bytes_max: to_u32(packet_bytes_max),
        })
    })();
    Placed { value, table, name, kind, address }
}

fn handshake_timeout(
    checker: &mut Checker<'_>,
    table: &Table,
    kind: Kind,
    field: Option<Field<u64>>,
) -> std::time::Duration {
    let key = "handshake_timeout_ms";
    if kind == Kind::Tcp
        && let Some(field) = &field
    {
        checker.problem(table.key(key), Some(field.span.clone()), "a \"tcp\" listener has no handshake before MQTT's");
    }
    checker.duration_ms(table, key, field, 10_000, TIMEOUT_MS)
}

fn framing(checker: &mut Checker<'_>, table: &Table, kind: Kind, field: Option<Field<Vec<String>>>) -> Framing {
    let origins = checker.optional(table, "origins", field);
    if kind.is_web_socket() {
        return Framing::WebSocket { origins: checker.parsed(table, "origins", origins, Origin::new) };
    }
    if let Some((_, span)) = origins {
        checker.problem(table.key("origins"), Some(span), "only \"wss\" and \"ws\" listeners have origins");
    }
    Framing::Stream
}

/// `tls` and `wss`: TLS, and nothing that is dangerous.
fn protected(checker: &mut Checker<'_>, table: &Table, kind: Kind, raw: RawListener) -> Option<Encryption> {
    let dangers = [("danger_plaintext", raw.danger_plaintext), ("danger_anonymous", raw.danger_anonymous)];
    for (key, field) in dangers {
        if let Some((true, span)) = checker.optional(table, key, field) {
            let message =
                format!("only \"tcp\" and \"ws\" listeners can be dangerous; this one is \"{}\"", kind.name());
            checker.problem(table.key(key), Some(span), message);
        }
    }
    tls(checker, table, raw.tls).map(Encryption::Tls)
}

/// `tcp` and `ws`: no TLS, both dangers named, and an address that no other machine reaches.
fn danger(
    checker: &mut Checker<'_>,
    table: &Table,
    (kind, kind_span): (Kind, Option<Range<usize>>),
    address: &Option<(SocketAddr, Range<usize>)>,
    raw: RawListener,
) -> Option<Encryption> {
    let name = kind.name();
    if let Some(tls) = raw.tls {
        checker.problem(table.key("tls"), Some(tls.span()), format!("a \"{name}\" listener has no TLS"));
    }
    let dangers = [
        ("danger_plaintext", raw.danger_plaintext, "is not encrypted"),
        ("danger_anonymous", raw.danger_anonymous, "believes every client who it says it is"),
    ];
    for (key, field, what) in dangers {
        let span = field.as_ref().map(|field| field.span.clone()).or_else(|| kind_span.clone());
        let is_wrong = matches!(&field, Some(Field { value: Err(_), .. }));
        let named = checker.optional(table, key, field).is_some_and(|(named, _)| named);
        if !named && !is_wrong {
            let message = format!("a \"{name}\" listener {what}: it needs {key} = true, and is for tests only");
            checker.problem(table.key(key), span, message);
        }
    }
    let (address, span) = address.clone()?;
    match DangerAnonymous::on(address) {
        Ok(danger) => Some(Encryption::DangerPlaintext(danger)),
        Err(error) => {
            checker.problem(table.key("address"), Some(span), format!("{error}, as a \"{name}\" listener needs it"));
            None
        }
    }
}

/// A broker proves all its parties or none: beside a listener that believes every client nobody would be sure of
/// anybody. The API proves who asks, so it is not beside one either.
pub(super) fn one_way_to_be_known(
    checker: &mut Checker<'_>,
    listeners: &[Placed<Listener>],
    api: Option<&Placed<ApiConfig>>,
) {
    let is_dangerous =
        |listener: &&Placed<Listener>| listener.kind.as_ref().is_some_and(|(kind, _)| kind.is_dangerous());
    let Some(dangerous) = listeners.iter().find(is_dangerous) else { return };
    let message = |what: &str| {
        let name = dangerous.table.name();
        format!("{what} beside {name}, which is dangerous: a broker proves all its parties or none")
    };
    for listener in listeners {
        if let Some((kind, span)) = &listener.kind
            && !kind.is_dangerous()
        {
            let message = message(&format!("a \"{}\" listener", kind.name()));
            checker.problem(listener.table.key("kind"), span.clone(), message);
        }
    }
    if let Some(api) = api {
        checker.problem(api.table.name(), api.table.span(), message("an API"));
    }
}

/// No two listeners share a name, and nothing listens where something else does.
pub(super) fn distinct_places(
    checker: &mut Checker<'_>,
    listeners: &[Placed<Listener>],
    api: Option<&Placed<ApiConfig>>,
) {
    for (index, listener) in listeners.iter().enumerate() {
        let Some((name, span)) = &listener.name else { continue };
        let earlier =
            listeners[..index].iter().find(|earlier| earlier.name.as_ref().is_some_and(|(earlier, _)| earlier == name));
        if let Some(earlier) = earlier {
            let message = format!("{name:?} is the name of {} already", earlier.table.name());
            checker.problem(listener.table.key("name"), Some(span.clone()), message);
        }
    }
    let mut places: Vec<(&Table, SocketAddr)> = Vec::new();
    let listening = listeners
        .iter()
        .map(|listener| (&listener.table, &listener.address))
        .chain(api.map(|api| (&api.table, &api.address)));
    for (table, address) in listening {
        let Some((address, span)) = address else { continue };
        if let Some((earlier, _)) = places.iter().find(|(_, place)| collide(*place, *address)) {
            let message = format!("{address} is taken by {} already", earlier.name());
            checker.problem(table.key("address"), Some(span.clone()), message);
        }
        places.push((table, *address));
    }
}

/// Whether two sockets could not listen there together. Port 0 lets the system choose.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |address: SocketAddr| address.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || all(one) || all(other))
}
