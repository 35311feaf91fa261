//! From what is written to what runs: defaults, ranges, names, and what must fit together.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use quorate_domain::{
    AccessRule, AccessRules, AccessTopic, Action, CnPattern, CreationRules, PartyId, Permission, TransactionRule,
};
use quorate_identity::{TlsFiles, TlsVersion};
use serde_spanned::Spanned;

use super::checker::{Checker, Table};
use super::listeners::{self, Placed};
use super::raw::{
    Field, RawAccessRule, RawApi, RawConfig, RawDanger, RawDrain, RawLanes, RawLog, RawSession, RawSys, RawTls,
    RawTransactions,
};
use super::storage;
use super::{
    ApiConfig, Config, DangerConfig, DrainConfig, LanesConfig, Listener, LogConfig, LogFormat, Movement, Problem,
    SessionConfig, SysConfig, TlsConfig, TransactionsConfig,
};

/// No timeout is shorter (a handshake crosses an ocean twice) or longer (nobody waits ten minutes for a packet).
pub(super) const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=600_000;

/// No will under `tx/` is held back, and `$SYS/` is not silent, for longer than a day.
const DAY_S: u64 = 86_400;

/// Ten years: no closed transaction is kept for longer.
const YEARS_S: u64 = 3_650 * DAY_S;

/// What is needed of `raw`, or everything that is wrong with it beside what `problems` holds already.
pub(super) fn config(
    raw: RawConfig,
    text: &str,
    folder: &Path,
    problems: Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let mut checker = Checker::new(text, folder, problems);
    let listeners = listeners::listeners(&mut checker, raw.listener);
    let api = raw.api.map(|api| self::api(&mut checker, api));
    let storage = storage::storage(&mut checker, raw.storage);
    let session = session(&mut checker, raw.session);
    let (rules, transactions) = transactions(&mut checker, raw.transactions);
    let access = access(&mut checker, raw.acl.rule);
    let sys = sys(&mut checker, raw.sys);
    let lanes = lanes(&mut checker, raw.lanes);
    let drain = drain(&mut checker, raw.drain);
    let log = log(&mut checker, raw.log);
    let danger = danger(&mut checker, raw.danger);
    listeners::distinct_places(&mut checker, &listeners, api.as_ref());
    listeners::one_way_to_be_known(&mut checker, &listeners, api.as_ref());

    let listeners: Option<Vec<Listener>> = listeners.into_iter().map(|placed| placed.value).collect();
    let api = match api {
        None => Some(None),
        Some(placed) => placed.value.map(Some),
    };
    let problems = checker.into_problems();
    match (listeners, api, storage, lanes, log) {
        (Some(listeners), Some(api), Some(storage), Some(lanes), Some(log)) if problems.is_empty() => {
            let admins = api.as_ref().map(|api: &ApiConfig| api.admins.clone()).unwrap_or_default();
            let access = AccessRules::new(access, admins);
            Ok(Config { listeners, api, storage, session, rules, transactions, access, sys, lanes, drain, log, danger })
        }
        _ => Err(problems),
    }
}

pub(super) fn tls(checker: &mut Checker<'_>, outer: &Table, raw: Option<Spanned<RawTls>>) -> Option<TlsConfig> {
    let table = outer.inner("tls", raw.as_ref().map(Spanned::span));
    let raw = raw.map(Spanned::into_inner).unwrap_or_default();
    let certificate_chain = checker.path(&table, "certificate", raw.certificate);
    let private_key = checker.path(&table, "key", raw.key);
    let client_ca = checker.path(&table, "client_ca", raw.client_ca);
    let versions = match checker.optional(&table, "versions", raw.versions) {
        None => vec![TlsVersion::V1_3, TlsVersion::V1_2],
        Some((names, span)) => {
            if names.is_empty() {
                checker.problem(table.key("versions"), Some(span.clone()), "at least one is needed");
            }
            let choices = [("1.3", TlsVersion::V1_3), ("1.2", TlsVersion::V1_2)];
            names.iter().filter_map(|name| checker.choose(&table, "versions", name, span.clone(), &choices)).collect()
        }
    };
    Some(TlsConfig {
        files: TlsFiles { certificate_chain: certificate_chain?, private_key: private_key?, client_ca: client_ca? },
        versions,
    })
}

fn api(checker: &mut Checker<'_>, raw: Spanned<RawApi>) -> Placed<ApiConfig> {
    let table = Table::new("api", Some(raw.span()));
    let raw = raw.into_inner();
    let address = checker.address(&table, raw.address);
    let admins = checker.optional(&table, "admins", raw.admins);
    let admins = checker.parsed(&table, "admins", admins, PartyId::new);
    let handshake_timeout =
        checker.duration_ms(&table, "handshake_timeout_ms", raw.handshake_timeout_ms, 10_000, TIMEOUT_MS);
    let header_timeout = checker.duration_ms(&table, "header_timeout_ms", raw.header_timeout_ms, 10_000, TIMEOUT_MS);
    let connections_max = checker.number(&table, "connections_max", raw.connections_max, 1_000, 1..=100_000);
    let body_bytes_max = checker.number(&table, "body_bytes_max", raw.body_bytes_max, 131_072, 1_024..=16_777_216);
    let tls = tls(checker, &table, raw.tls);
    let value = (|| {
        Some(ApiConfig {
            address: address.clone()?.0,
            admins,
            handshake_timeout,
            header_timeout,
            connections_max: to_usize(connections_max),
            body_bytes_max: to_usize(body_bytes_max),
            tls: tls?,
        })
    })();
    Placed { value, table, name: None, kind: None, address }
}

fn session(checker: &mut Checker<'_>, raw: RawSession) -> SessionConfig {
    let table = Table::new("session", None);
    let mut number = |key, field, default, range| checker.number(&table, key, field, default, range);
    SessionConfig {
        inflight_max: to_u16(number("inflight_max", raw.inflight_max, 256, 1..=65_535)),
        receive_maximum: to_u16(number("receive_maximum", raw.receive_maximum, 256, 1..=65_535)),
        pending_bytes_max: to_usize(number(
            "pending_bytes_max",
            raw.pending_bytes_max,
            4_194_304,
            65_536..=1_073_741_824,
        )),
        keep_alive_max_s: to_u16(number("keep_alive_max_s", raw.keep_alive_max_s, 3_600, 0..=65_535)),
        session_expiry_max_s: to_u32(number(
            "session_expiry_max_s",
            raw.session_expiry_max_s,
            2_592_000,
            0..=u64::from(u32::MAX),
        )),
        subscriptions_max: to_usize(number("subscriptions_max", raw.subscriptions_max, 100, 1..=10_000)),
        topic_alias_max: to_u16(number("topic_alias_max", raw.topic_alias_max, 64, 0..=65_535)),
        queue_messages_max: to_usize(number("queue_messages_max", raw.queue_messages_max, 100_000, 1..=100_000_000)),
        queue_bytes_max: number("queue_bytes_max", raw.queue_bytes_max, 268_435_456, 65_536..=1 << 50),
    }
}

fn transactions(checker: &mut Checker<'_>, raw: RawTransactions) -> (CreationRules, TransactionsConfig) {
    let table = Table::new("transactions", None);
    let mut number = |key, field, default, range| checker.number(&table, key, field, default, range);
    let config = TransactionsConfig {
        will_delay_s: to_u32(number("will_delay_s", raw.will_delay_s, 30, 0..=DAY_S)),
        party_messages_max: number("party_messages_max", raw.party_messages_max, 1_000_000, 1..=1_000_000_000),
        party_bytes_max: number("party_bytes_max", raw.party_bytes_max, 1 << 30, 1..=1 << 50),
        purge_after: Duration::from_secs(number("purge_after_s", raw.purge_after_s, DAY_S, 0..=YEARS_S)),
        retain_closed_for: Duration::from_secs(number(
            "retain_closed_for_s",
            raw.retain_closed_for_s,
            30 * DAY_S,
            0..=YEARS_S,
        )),
    };
    let rules = raw.rule.into_iter().enumerate().map(|(index, raw)| {
        let table = Table::new(format!("transactions.rule[{index}]"), Some(raw.span()));
        let raw = raw.into_inner();
        let mut patterns = |key, field| {
            let list = checker.required(&table, key, field);
            checker.parsed(&table, key, list, str::parse::<CnPattern>)
        };
        TransactionRule {
            initiator: patterns("initiator", raw.initiator),
            may_invite: patterns("may_invite", raw.may_invite),
        }
    });
    (CreationRules(rules.collect()), config)
}

fn access(checker: &mut Checker<'_>, raw: Vec<Spanned<RawAccessRule>>) -> Vec<AccessRule> {
    let rules = raw.into_iter().enumerate().filter_map(|(index, raw)| {
        let table = Table::new(format!("acl.rule[{index}]"), Some(raw.span()));
        let raw = raw.into_inner();
        let permissions = [("allow", Permission::Allow), ("deny", Permission::Deny)];
        let permission = checker
            .required(&table, "permission", raw.permission)
            .and_then(|(name, span)| checker.choose(&table, "permission", &name, span, &permissions));
        let actions: [(&str, &[Action]); 3] = [
            ("both", &[Action::Publish, Action::Subscribe]),
            ("publish", &[Action::Publish]),
            ("subscribe", &[Action::Subscribe]),
        ];
        let actions = checker.choice(&table, "action", raw.action, &actions);
        let topics = at_least_one(checker, &table, "topics", raw.topics, str::parse::<AccessTopic>);
        let parties = at_least_one(checker, &table, "parties", raw.parties, str::parse::<CnPattern>);
        Some(AccessRule { permission: permission?, actions: actions?.to_vec(), topics, parties })
    });
    rules.collect()
}

/// A list in which something must stand: a rule that names nothing would keep out nobody, and nobody would notice.
fn at_least_one<T, E: std::fmt::Display>(
    checker: &mut Checker<'_>,
    table: &Table,
    key: &str,
    field: Option<Field<Vec<String>>>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let list = checker.required(table, key, field);
    if let Some((items, span)) = &list
        && items.is_empty()
    {
        checker.problem(table.key(key), Some(span.clone()), "at least one is needed");
    }
    checker.parsed(table, key, list, parse)
}

fn sys(checker: &mut Checker<'_>, raw: RawSys) -> SysConfig {
    let table = Table::new("sys", None);
    let interval_s = checker.number(&table, "interval_s", raw.interval_s, 10, 0..=DAY_S);
    SysConfig { interval: (interval_s > 0).then(|| Duration::from_secs(interval_s)) }
}

fn lanes(checker: &mut Checker<'_>, raw: RawLanes) -> Option<LanesConfig> {
    let table = Table::new("lanes", None);
    let count = checker.number(&table, "count", raw.count, 4, 1..=64);
    let choices = [("rumqttd", Movement::Rumqttd), ("channels", Movement::Channels)];
    let movement = checker.choice(&table, "movement", raw.movement, &choices);
    Some(LanesConfig { count: to_usize(count), movement: movement? })
}

fn drain(checker: &mut Checker<'_>, raw: RawDrain) -> DrainConfig {
    let table = Table::new("drain", None);
    let limit = checker.duration_ms(&table, "limit_ms", raw.limit_ms, 10_000, 100..=600_000);
    DrainConfig { limit }
}

fn log(checker: &mut Checker<'_>, raw: RawLog) -> Option<LogConfig> {
    let table = Table::new("log", None);
    let levels = [("info", "info"), ("error", "error"), ("warn", "warn"), ("debug", "debug"), ("trace", "trace")];
    let level = checker.choice(&table, "level", raw.level, &levels);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = checker.choice(&table, "format", raw.format, &formats);
    Some(LogConfig { level: level?.to_owned(), format: format? })
}

fn danger(checker: &mut Checker<'_>, raw: RawDanger) -> DangerConfig {
    let table = Table::new("danger", None);
    let every =
        checker.number(&table, "drop_lane_message_every", raw.drop_lane_message_every, 0, 0..=u64::from(u32::MAX));
    DangerConfig { drop_lane_message_every: NonZeroU32::new(to_u32(every)) }
}

pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("the range of the field fits")
}

pub(super) fn to_u32(value: u64) -> u32 {
    u32::try_from(value).expect("the range of the field fits")
}

fn to_u16(value: u64) -> u16 {
    u16::try_from(value).expect("the range of the field fits")
}
