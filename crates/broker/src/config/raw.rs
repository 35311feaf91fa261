//! `broker.toml` as it is written: every field optional, every value with its place. Nothing is judged here except
//! that a key is known and a value has its type; both are collected, not thrown.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_spanned::Spanned;
use toml::de::DeTable;

use super::lines::{Step, key_text, line_of, place_of_key};
use super::problems::Problem;

/// One value of the file: its place, and the value or why it is none.
#[derive(Debug, Clone)]
pub(super) struct Field<T> {
    pub(super) span: Range<usize>,
    pub(super) value: Result<T, String>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    /// Takes any value first, so that one of the wrong type is a problem among others and not the end of reading.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<toml::Value>::deserialize(deserializer)?;
        let span = spanned.span();
        let value = T::deserialize(spanned.into_inner()).map_err(|error| error.message().to_owned());
        Ok(Field { span, value })
    }
}

/// Declares tables of the file: every field optional, and with a test build the list of its keys.
macro_rules! tables {
    ($($(#[$meta:meta])* $table:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $table {
            $(pub(super) $field: $type,)*
        }

        #[cfg(test)]
        impl $table {
            /// Every key of this table, in the order of the file.
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    )*};
}

tables! {
    /// The whole file.
    RawConfig {
        listener: Vec<Spanned<RawListener>>,
        api: Option<Spanned<RawApi>>,
        storage: Option<Spanned<RawStorage>>,
        session: RawSession,
        transactions: RawTransactions,
        acl: RawAcl,
        sys: RawSys,
        lanes: RawLanes,
        drain: RawDrain,
        log: RawLog,
        danger: RawDanger,
    }
    /// `[[listener]]`.
    RawListener {
        name: Option<Field<String>>,
        kind: Option<Field<String>>,
        address: Option<Field<String>>,
        handshake_timeout_ms: Option<Field<u64>>,
        connect_timeout_ms: Option<Field<u64>>,
        connections_max: Option<Field<u64>>,
        connections_per_party_max: Option<Field<u64>>,
        packet_bytes_max: Option<Field<u64>>,
        origins: Option<Field<Vec<String>>>,
        danger_plaintext: Option<Field<bool>>,
        danger_anonymous: Option<Field<bool>>,
        tls: Option<Spanned<RawTls>>,
    }
    /// `[listener.tls]` and `[api.tls]`.
    RawTls {
        certificate: Option<Field<String>>,
        key: Option<Field<String>>,
        client_ca: Option<Field<String>>,
        versions: Option<Field<Vec<String>>>,
    }
    /// `[api]`.
    RawApi {
        address: Option<Field<String>>,
        admins: Option<Field<Vec<String>>>,
        handshake_timeout_ms: Option<Field<u64>>,
        header_timeout_ms: Option<Field<u64>>,
        connections_max: Option<Field<u64>>,
        body_bytes_max: Option<Field<u64>>,
        tls: Option<Spanned<RawTls>>,
    }
    /// `[storage]`.
    RawStorage {
        path: Option<Field<String>>,
        temporary: Option<Field<bool>>,
        durability: Option<Field<String>>,
        queue_max: Option<Field<u64>>,
        batch_max: Option<Field<u64>>,
        master_key_file: Option<Field<String>>,
        master_key_env: Option<Field<String>>,
        backup_folder: Option<Field<String>>,
        messages_max: Option<Field<u64>>,
        bytes_max: Option<Field<u64>>,
        party_messages_max: Option<Field<u64>>,
        party_bytes_max: Option<Field<u64>>,
        disk_free_min_bytes: Option<Field<u64>>,
    }
    /// `[session]`.
    RawSession {
        inflight_max: Option<Field<u64>>,
        receive_maximum: Option<Field<u64>>,
        pending_bytes_max: Option<Field<u64>>,
        keep_alive_max_s: Option<Field<u64>>,
        session_expiry_max_s: Option<Field<u64>>,
        subscriptions_max: Option<Field<u64>>,
        topic_alias_max: Option<Field<u64>>,
        queue_messages_max: Option<Field<u64>>,
        queue_bytes_max: Option<Field<u64>>,
    }
    /// `[transactions]`.
    RawTransactions {
        will_delay_s: Option<Field<u64>>,
        party_messages_max: Option<Field<u64>>,
        party_bytes_max: Option<Field<u64>>,
        purge_after_s: Option<Field<u64>>,
        retain_closed_for_s: Option<Field<u64>>,
        rule: Vec<Spanned<RawRule>>,
    }
    /// `[[transactions.rule]]`.
    RawRule {
        initiator: Option<Field<Vec<String>>>,
        may_invite: Option<Field<Vec<String>>>,
    }
    /// `[acl]`.
    RawAcl {
        rule: Vec<Spanned<RawAccessRule>>,
    }
    /// `[[acl.rule]]`.
    RawAccessRule {
        permission: Option<Field<String>>,
        action: Option<Field<String>>,
        topics: Option<Field<Vec<String>>>,
        parties: Option<Field<Vec<String>>>,
    }
    /// `[sys]`.
    RawSys {
        interval_s: Option<Field<u64>>,
    }
    /// `[lanes]`.
    RawLanes {
        count: Option<Field<u64>>,
        movement: Option<Field<String>>,
    }
    /// `[drain]`.
    RawDrain {
        limit_ms: Option<Field<u64>>,
    }
    /// `[log]`.
    RawLog {
        level: Option<Field<String>>,
        format: Option<Field<String>>,
    }
    /// `[danger]`.
    RawDanger {
        drop_lane_message_every: Option<Field<u64>>,
    }
}

impl RawConfig {
    /// Reads the text as far as it can be read.
    ///
    /// # Errors
    /// What made going on useless: the text is not TOML, or a table is not a table. Unknown keys are in both answers.
    pub(super) fn read(text: &str) -> Result<(RawConfig, Vec<Problem>), Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors.iter().map(|error| toml_problem(text, error)).collect());
        }
        let mut problems = Vec::new();
        let deserializer = toml::de::Deserializer::from(root.clone());
        let raw = serde_ignored::deserialize(deserializer, |path| {
            let steps = steps_of(&path);
            let place = place_of_key(root.get_ref(), &steps);
            problems.push(Problem {
                line: place.map(|place| line_of(text, place.start)),
                key: key_text(&steps),
                message: "unknown key".to_owned(),
            });
        });
        match raw {
            Ok(raw) => Ok((raw, problems)),
            Err(error) => {
                problems.push(toml_problem(text, &error));
                Err(problems)
            }
        }
    }
}

fn toml_problem(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map(|span| line_of(text, span.start)),
        key: String::new(),
        message: error.message().to_owned(),
    }
}

/// The steps to a key that nothing read. `Spanned` passes through serde as a struct with fields of its own, which are
/// no part of the file.
fn steps_of(path: &serde_ignored::Path<'_>) -> Vec<Step> {
    use serde_ignored::Path;
    let (parent, step) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(Step::Index(*index))),
        Path::Map { parent, key } if key.starts_with("$__serde_spanned") => (parent, None),
        Path::Map { parent, key } => (parent, Some(Step::Key(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut steps = steps_of(parent);
    steps.extend(step);
    steps
}
