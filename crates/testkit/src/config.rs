//! The `broker.toml` of a test: what a broker needs, and what a test wants otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::ca::BROKER;

/// What of the configuration a test sets. Everything else has the broker's defaults, and every party may invite every
/// party.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    tables: BTreeMap<String, BTreeMap<String, Value>>,
    rules: Vec<(Vec<String>, Vec<String>)>,
}

/// Where the parts of one broker are.
pub(crate) struct Places<'a> {
    pub(crate) certs: &'a Path,
    pub(crate) store: &'a Path,
    pub(crate) mqtt_port: u16,
    pub(crate) api_port: u16,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        let everybody = || vec!["*".to_owned()];
        BrokerOptions { tables: BTreeMap::new(), rules: vec![(everybody(), everybody())] }
    }
}

impl BrokerOptions {
    /// Sets one key by its path: `"lanes.count"`, `"storage.durability"`, `"listener.connections_max"`. A key that the
    /// broker does not know makes its start fail.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        self.tables.entry(table.to_owned()).or_default().insert(key.to_owned(), value.into());
        self
    }

    /// Loses every k-th lane message, to show that nothing depends on them.
    pub fn drop_lane_message_every(self, k: u32) -> Self {
        self.set("danger.drop_lane_message_every", k)
    }

    /// Replaces the rules of creation: each names who initiates and whom they may invite.
    pub fn rules(mut self, rules: &[(&[&str], &[&str])]) -> Self {
        let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        self.rules = rules.iter().map(|(initiator, may_invite)| (owned(initiator), owned(may_invite))).collect();
        self
    }

    pub(crate) fn to_toml(&self, places: &Places<'_>) -> String {
        let file = |name: &str| json!(places.certs.join(name));
        let tls = || {
            BTreeMap::from([
                ("certificate".to_owned(), file(&format!("{BROKER}.pem"))),
                ("key".to_owned(), file(&format!("{BROKER}.key.pem"))),
                ("client_ca".to_owned(), file("ca.pem")),
            ])
        };
        let address = |port: u16| ("address".to_owned(), json!(format!("127.0.0.1:{port}")));
        let mut tables = BTreeMap::from([
            ("listener".to_owned(), BTreeMap::from([("name".to_owned(), json!("mqtt")), address(places.mqtt_port)])),
            ("listener.tls".to_owned(), tls()),
            ("api".to_owned(), BTreeMap::from([("admins".to_owned(), json!(["operator"])), address(places.api_port)])),
            ("api.tls".to_owned(), tls()),
            ("storage".to_owned(), BTreeMap::from([("path".to_owned(), json!(places.store))])),
        ]);
        for (name, keys) in &self.tables {
            tables.entry(name.clone()).or_default().extend(keys.clone());
        }
        let mut text = String::new();
        // JSON's strings, numbers and lists are TOML's, too. `listener` sorts before `listener.tls`, as TOML wants it.
        for (name, keys) in &tables {
            text.push_str(&if name == "listener" { "[[listener]]\n".to_owned() } else { format!("[{name}]\n") });
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        for (initiator, may_invite) in &self.rules {
            let (initiator, may_invite) = (json!(initiator), json!(may_invite));
            text.push_str(&format!("[[transactions.rule]]\ninitiator = {initiator}\nmay_invite = {may_invite}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{BrokerOptions, Places};

    #[test]
    fn what_a_test_sets_stands_beside_what_a_broker_needs() {
        let places = Places { certs: Path::new("/c"), store: Path::new("/s"), mqtt_port: 1, api_port: 2 };
        let text = BrokerOptions::default()
            .set("storage.durability", "os")
            .set("listener.connections_max", 3)
            .rules(&[(&["alice"], &["b*", "carol"])])
            .drop_lane_message_every(4)
            .to_toml(&places);
        for line in [
            "[storage]\ndurability = \"os\"\npath = \"/s\"\n",
            "[[listener]]\naddress = \"127.0.0.1:1\"\nconnections_max = 3\nname = \"mqtt\"\n",
            "[danger]\ndrop_lane_message_every = 4\n",
            "initiator = [\"alice\"]\nmay_invite = [\"b*\",\"carol\"]\n",
        ] {
            assert!(text.contains(line), "{line:?} is in\n{text}");
        }
    }
}
