//! What a configuration says of the store, as `backbone-local` takes it: for the broker, and for the commands that look at
//! a store or put one in its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use quorate_backbone::TopicRules;
use quorate_backbone_local::{Bounds, Durability, Identities, LocalOptions, MasterKey, Movement, Retention};
use quorate_broker::config::{self, Config, MasterKeyPlace};
use quorate_domain::{TxLimits, Volume};
use zeroize::Zeroizing;

/// How to open the store of a configuration at `path`. The master key is read here, from where the configuration says.
pub fn options(config: &Config, path: &Path) -> anyhow::Result<LocalOptions> {
    let bounds = &config.storage.bounds;
    Ok(LocalOptions {
        path: path.to_owned(),
        identities: match config.identities() {
            config::Identities::Certificates => Identities::Certificates,
            config::Identities::DangerAnonymous => Identities::DangerAnonymous,
        },
        durability: match config.storage.durability {
            config::Durability::Fsync => Durability::Fsync,
            config::Durability::Os => Durability::Os,
        },
        rules: config.rules.clone(),
        topics: TopicRules {
            access: Arc::new(config.access.clone()),
            queue_messages_max: config.session.queue_messages_max as u64,
            queue_bytes_max: config.session.queue_bytes_max,
        },
        bounds: Bounds {
            transaction: TxLimits {
                messages_per_party_max: config.transactions.party_messages_max,
                bytes_per_party_max: config.transactions.party_bytes_max,
            },
            party: Volume { messages: bounds.party_messages_max, bytes: bounds.party_bytes_max },
            store: Volume {
                messages: bounds.messages_max.unwrap_or(u64::MAX),
                bytes: bounds.bytes_max.unwrap_or(u64::MAX),
            },
            disk_free_min_bytes: bounds.disk_free_min_bytes,
        },
        retention: Retention {
            purge_after: config.transactions.purge_after,
            retain_closed_for: config.transactions.retain_closed_for,
        },
        master_key: config.storage.master_key.as_ref().map(master_key).transpose()?,
        backup_folder: config.storage.backup_folder.clone(),
        movement: match config.lanes.movement {
            config::Movement::Rumqttd => Movement::Lanes { count: config.lanes.count },
            config::Movement::Channels => Movement::Channels,
        },
        queue_max: config.storage.queue_max,
        batch_max: config.storage.batch_max,
        danger_drop_every: config.danger.drop_lane_message_every,
    })
}

fn master_key(place: &MasterKeyPlace) -> anyhow::Result<MasterKey> {
    match place {
        MasterKeyPlace::File(path) => {
            let text = fs::read_to_string(path).map(Zeroizing::new);
            let hint = "`quorate certs init` makes one; without `master_key_file` in [storage] nothing is sealed";
            let text = text.with_context(|| format!("the master key {} cannot be read ({hint})", path.display()))?;
            text.parse().with_context(|| format!("the master key {}", path.display()))
        }
        MasterKeyPlace::Environment(name) => {
            let text = std::env::var(name).map(Zeroizing::new);
            let text = text.with_context(|| format!("the master key is to be in the environment, as {name}"))?;
            text.parse().with_context(|| format!("the master key in the environment, {name}"))
        }
    }
}

/// The folder of the store, for commands that need it to last.
pub fn store_folder(config: &Config) -> anyhow::Result<PathBuf> {
    match &config.storage.place {
        config::StorePlace::Folder(path) => Ok(path.clone()),
        config::StorePlace::Temporary => anyhow::bail!("[storage] temporary: this store ends with its broker"),
    }
}
