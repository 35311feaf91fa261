//! The shipped file, the defaults, and what is refused.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use quorate_identity::TlsVersion;

use super::raw::{
    RawAccessRule, RawAcl, RawApi, RawConfig, RawDanger, RawDrain, RawLanes, RawListener, RawLog, RawRule, RawSession,
    RawStorage, RawSys, RawTls, RawTransactions,
};
use super::{
    Config, ConfigProblems, Durability, Encryption, Framing, Identities, Listener, LogFormat, Movement, Problem,
    StorePlace, TlsConfig,
};
use super::{MasterKeyPlace, StorageConfig};

mod access;
mod listeners;
mod store_place;

const SHIPPED: &str = include_str!("../../../../broker.toml");

/// The least that a broker needs.
const LEAST: &str = r#"
[[listener]]
name = "mqtt"
address = "0.0.0.0:8883"
[listener.tls]
certificate = "certs/broker.pem"
key = "certs/broker.key.pem"
client_ca = "certs/ca.pem"
[storage]
path = "data"
"#;

/// A file in which nothing is the default.
const EVERYTHING_OTHERWISE: &str = r#"
[[listener]]
name = "inner"
kind = "wss"
origins = ["https://app.example", "http://localhost:3000"]
address = "[::1]:18883"
handshake_timeout_ms = 500
connect_timeout_ms = 600
connections_max = 7
connections_per_party_max = 3
packet_bytes_max = 2048
[listener.tls]
certificate = "/abs/broker.pem"
key = "k.pem"
client_ca = "ca.pem"
versions = ["1.3"]
[storage]
path = "/var/lib/quorate"
durability = "os"
queue_max = 11
batch_max = 5
master_key_env = "KEY"
messages_max = 3
bytes_max = 4
party_messages_max = 5
party_bytes_max = 6
disk_free_min_bytes = 0
[session]
inflight_max = 1
keep_alive_max_s = 0
topic_alias_max = 0
queue_messages_max = 9
[transactions]
will_delay_s = 0
[[transactions.rule]]
initiator = ["alice", "svc-*"]
may_invite = ["*"]
[[acl.rule]]
permission = "deny"
action = "publish"
topics = ["a/%u"]
parties = ["bob"]
[sys]
interval_s = 0
[lanes]
count = 2
movement = "channels"
[drain]
limit_ms = 250
[log]
level = "debug"
format = "json"
[danger]
drop_lane_message_every = 3
"#;

/// A file with a mistake of every kind.
const EVERYTHING_WRONG: &str = r#"colour = "red"

[[listener]]
name = "mqtt"
adress = "0.0.0.0:8883"
connections_max = "many"
packet_bytes_max = 12
[listener.tls]
certificate = "c.pem"
key = ""
versions = ["1.3", "1.1"]
cipher = 1

[api]
address = "localhost:8884"
admins = ["operator", "not a party"]

[storage]
path = "data"
durability = "maybe"
queue_max = -1

[[transactions.rule]]
initiator = ["a b"]
"#;

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Path::new("/etc/quorate"))
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(text).expect_err("refused");
    ConfigProblems::new(Path::new("broker.toml"), problems).problems().iter().map(Problem::to_string).collect()
}

fn tls(listener: &Listener) -> &TlsConfig {
    let Encryption::Tls(tls) = &listener.encryption else { panic!("{} has no TLS", listener.name) };
    tls
}

/// The lines of the shipped file from a table's header to the next.
fn section<'a>(header: &str) -> Vec<&'a str> {
    SHIPPED.lines().skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn the_shipped_file_is_accepted() {
    let config = parse(SHIPPED).expect("accepted");
    let listener = &config.listeners[0];
    assert_eq!(listener.address.to_string(), "0.0.0.0:8883");
    assert_eq!(tls(listener).files.client_ca, Path::new("/etc/quorate/certs/ca.pem"));
    let api = config.api.expect("an API");
    assert_eq!(api.address.to_string(), "0.0.0.0:8884");
    assert_eq!(api.admins[0].as_str(), "operator");
    assert_eq!(config.storage.place, StorePlace::Folder("/etc/quorate/data".into()));
    assert_eq!(config.rules.0.len(), 1);
    assert_eq!(config.danger.drop_lane_message_every, None);
}

#[test]
fn every_value_of_the_shipped_file_is_the_default() {
    let shipped = parse(SHIPPED).expect("accepted");
    let least = parse(LEAST).expect("accepted");
    assert_eq!(shipped.listeners, least.listeners);
    // Where the key and the backups are is nobody's to guess.
    let nowhere = StorageConfig { master_key: None, backup_folder: None, ..shipped.storage.clone() };
    assert_eq!(nowhere, least.storage);
    assert_eq!(shipped.storage.master_key, Some(MasterKeyPlace::File("/etc/quorate/certs/master.key".into())));
    assert_eq!(shipped.storage.backup_folder, Some("/etc/quorate/backups".into()));
    assert_eq!(shipped.session, least.session);
    assert_eq!(shipped.transactions, least.transactions);
    assert_eq!(shipped.sys, least.sys);
    assert_eq!(shipped.lanes, least.lanes);
    assert_eq!(shipped.drain, least.drain);
    assert_eq!(shipped.log, least.log);
    assert_eq!(shipped.danger, least.danger);
    assert_eq!(least.api, None, "without [api] there is no API");
    assert!(least.rules.0.is_empty(), "without a rule nobody may create");

    let api = "[api]\naddress = \"0.0.0.0:8884\"\nadmins = [\"operator\"]\n[api.tls]\n\
        certificate = \"certs/broker.pem\"\nkey = \"certs/broker.key.pem\"\nclient_ca = \"certs/ca.pem\"";
    assert_eq!(shipped.api, parse(&format!("{LEAST}{api}")).expect("accepted").api);
}

#[test]
fn every_key_stands_in_the_shipped_file() {
    let tables: [(&str, &[&str]); 14] = [
        ("[[listener]]", RawListener::KEYS),
        ("[listener.tls]", RawTls::KEYS),
        ("[api]", RawApi::KEYS),
        ("[api.tls]", RawTls::KEYS),
        ("[storage]", RawStorage::KEYS),
        ("[session]", RawSession::KEYS),
        ("[transactions]", RawTransactions::KEYS),
        ("[[transactions.rule]]", RawRule::KEYS),
        ("# [[acl.rule]]", RawAccessRule::KEYS),
        ("[sys]", RawSys::KEYS),
        ("[lanes]", RawLanes::KEYS),
        ("[drain]", RawDrain::KEYS),
        ("[log]", RawLog::KEYS),
        ("[danger]", RawDanger::KEYS),
    ];
    for (header, keys) in tables {
        let lines = section(header);
        assert!(!lines.is_empty(), "{header} stands in broker.toml");
        for key in keys.iter().filter(|key| !["tls", "rule"].contains(key)) {
            let stands = lines.iter().any(|line| {
                line.trim_start_matches("# ").strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "))
            });
            assert!(stands, "{key} stands in {header} of broker.toml");
        }
    }
    assert_eq!(RawAcl::KEYS, ["rule"]);
    for key in RawConfig::KEYS {
        let begins = |header: &str| header.trim_start_matches(['#', ' ', '[']).starts_with(key);
        assert!(tables.iter().any(|(header, _)| begins(header)), "[{key}] is looked at above");
    }
}

#[test]
fn what_is_written_is_what_runs() {
    let config = parse(EVERYTHING_OTHERWISE).expect("accepted");
    let listener = &config.listeners[0];
    assert_eq!(listener.handshake_timeout, Duration::from_millis(500));
    assert_eq!(listener.connect_timeout, Duration::from_millis(600));
    assert_eq!((listener.connections_max, listener.packet_bytes_max), (7, 2048));
    assert_eq!(listener.connections_per_party_max, 3);
    let Framing::WebSocket { origins } = &listener.framing else { panic!("no WebSocket") };
    let origins: Vec<&str> = origins.iter().map(super::Origin::as_str).collect();
    assert_eq!(origins, ["https://app.example", "http://localhost:3000"]);
    assert_eq!(tls(listener).files.certificate_chain, Path::new("/abs/broker.pem"));
    assert_eq!(tls(listener).files.private_key, Path::new("/etc/quorate/k.pem"));
    assert_eq!(tls(listener).versions, [TlsVersion::V1_3]);
    assert_eq!(config.storage.durability, Durability::Os);
    assert_eq!((config.storage.queue_max, config.storage.batch_max), (11, 5));
    let bounds = config.storage.bounds;
    assert_eq!((bounds.messages_max, bounds.bytes_max, bounds.disk_free_min_bytes), (Some(3), Some(4), 0));
    assert_eq!((bounds.party_messages_max, bounds.party_bytes_max), (5, 6));
    assert_eq!(config.storage.master_key, Some(MasterKeyPlace::Environment("KEY".to_owned())));
    assert_eq!((config.session.inflight_max, config.session.keep_alive_max_s), (1, 0));
    assert_eq!((config.session.topic_alias_max, config.session.queue_messages_max), (0, 9));
    assert_eq!((config.transactions.will_delay_s, config.sys.interval), (0, None));
    assert_ne!(config.access, quorate_domain::AccessRules::default());
    assert_eq!(config.rules.0[0].initiator.len(), 2);
    assert_eq!((config.lanes.count, config.lanes.movement), (2, Movement::Channels));
    assert_eq!(config.drain.limit, Duration::from_millis(250));
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
    assert_eq!(config.danger.drop_lane_message_every, NonZeroU32::new(3));
}

#[test]
fn all_problems_are_told_at_once_with_key_and_line() {
    let found = problems(EVERYTHING_WRONG);
    let expected = [
        "line 1: colour: unknown key",
        "line 3: listener[0].address: missing",
        "line 5: listener[0].adress: unknown key",
        "line 6: listener[0].connections_max: invalid type: string \"many\", expected u64",
        "line 7: listener[0].packet_bytes_max: 12 is not within 1024 to 268435460",
        "line 8: listener[0].tls.client_ca: missing",
        "line 10: listener[0].tls.key: an empty path",
        "line 11: listener[0].tls.versions: \"1.1\" is not one of \"1.3\", \"1.2\"",
        "line 12: listener[0].tls.cipher: unknown key",
        "line 14: api.tls.certificate: missing",
        "line 14: api.tls.key: missing",
        "line 14: api.tls.client_ca: missing",
        "line 15: api.address: \"localhost:8884\" is not an IP address and port, as \"0.0.0.0:8883\" or \"[::]:8883\"",
        "line 20: storage.durability: \"maybe\" is not one of \"fsync\", \"os\"",
        "line 21: storage.queue_max: invalid value: integer `-1`, expected u64",
        "line 23: transactions.rule[0].may_invite: missing",
    ];
    for line in expected {
        assert!(found.iter().any(|problem| problem == line), "{line:?} is in {found:#?}");
    }
    let begins = |start: &str| found.iter().any(|problem| problem.starts_with(start));
    assert!(begins("line 16: api.admins: \"not a party\": "), "{found:#?}");
    assert!(begins("line 24: transactions.rule[0].initiator: \"a b\": "), "{found:#?}");
    assert_eq!(found.len(), expected.len() + 2, "{found:#?}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_all_its_lines() {
    let found = problems("[storage]\npath = \n[log\nlevel = \"info\"\n");
    assert!(found.iter().any(|problem| problem.starts_with("line 2: ")), "{found:#?}");
    assert!(found.iter().any(|problem| problem.starts_with("line 3: ")), "{found:#?}");
}

#[test]
fn a_table_that_is_none_is_told() {
    let found = problems("storage = 3\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("line 1: "), "{found:#?}");
}

#[test]
fn without_a_listener_or_a_store_nothing_runs() {
    let found = problems("");
    assert_eq!(found, ["listener: at least one [[listener]] is needed", "storage.path: missing"]);
}

#[test]
fn two_cannot_listen_at_one_address_or_have_one_name() {
    let second = |name: &str, address: &str| {
        format!(
            "{LEAST}[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\n[listener.tls]\n\
             certificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\n"
        )
    };
    assert!(parse(&second("other", "0.0.0.0:8885")).is_ok());
    for taken in ["0.0.0.0:8883", "127.0.0.1:8883", "[::]:8883"] {
        let found = problems(&second("other", taken));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("listener[1].address") && found[0].contains("listener[0]"), "{found:#?}");
    }
    let found = problems(&second("mqtt", "0.0.0.0:8885"));
    assert!(found[0].contains("listener[1].name"), "{found:#?}");

    let api = format!(
        "{LEAST}[api]\naddress = \"127.0.0.1:8883\"\n[api.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\n"
    );
    let found = problems(&api);
    assert!(found[0].contains("api.address"), "{found:#?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nowhere/broker.toml")).expect_err("no such file");
    let text = error.to_string();
    assert!(text.starts_with("/nowhere/broker.toml: 1 problem\n"), "{text}");
}
