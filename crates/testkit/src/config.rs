//! The `broker.toml` of a test: what a broker needs, and what a test wants otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::ca::{BROKER, MASTER_KEY};

/// What of the configuration a test sets. Everything else has the broker's defaults, and every party may invite every
/// party.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    tables: BTreeMap<String, BTreeMap<String, Value>>,
    rules: Vec<(Vec<String>, Vec<String>)>,
    access_rules: Vec<Value>,
    identities: Identities,
    web_socket: bool,
    environment: BTreeMap<String, PathBuf>,
}

/// By what the broker knows its parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identities {
    Certificates,
    /// Plaintext, and no API.
    DangerAnonymous,
}

/// Where the parts of one broker are.
pub(crate) struct Places<'a> {
    pub(crate) certs: &'a Path,
    pub(crate) store: &'a Path,
    pub(crate) mqtt_port: u16,
    pub(crate) web_socket_port: u16,
    pub(crate) api_port: u16,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        let everybody = || vec!["*".to_owned()];
        BrokerOptions {
            tables: BTreeMap::new(),
            rules: vec![(everybody(), everybody())],
            access_rules: Vec::new(),
            identities: Identities::Certificates,
            web_socket: false,
            environment: BTreeMap::new(),
        }
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

    /// Starts the broker with this variable in its environment: it reads none itself, but the loader does.
    pub fn environment_variable(mut self, name: &str, path: &Path) -> Self {
        self.environment.insert(name.to_owned(), path.to_owned());
        self
    }

    pub(crate) fn environment(&self) -> &BTreeMap<String, PathBuf> {
        &self.environment
    }

    /// A second listener, for WebSocket. Its keys are set as `"web_socket.origins"`.
    pub fn with_web_socket(mut self) -> Self {
        self.web_socket = true;
        self
    }

    /// Believes every client to be the party that its client identifier names, without TLS and without an API.
    pub fn danger_anonymous(mut self) -> Self {
        self.identities = Identities::DangerAnonymous;
        self
    }

    pub(crate) fn identities(&self) -> Identities {
        self.identities
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

    /// A further rule for ordinary topics, after those that are there: as `("allow", "both", &["news/#"], &["*"])`, in the
    /// words of `[[acl.rule]]`. Without one they are closed.
    pub fn with_access_rule(mut self, permission: &str, action: &str, topics: &[&str], parties: &[&str]) -> Self {
        let rule = json!({"permission": permission, "action": action, "topics": topics, "parties": parties});
        self.access_rules.push(rule);
        self
    }

    /// Opens every ordinary topic, but for those of the broker, to every party.
    pub fn with_open_topics(self) -> Self {
        self.with_access_rule("allow", "both", &["#"], &["*"])
    }

    pub(crate) fn to_toml(&self, places: &Places<'_>) -> String {
        let address = |port: u16| ("address".to_owned(), json!(format!("127.0.0.1:{port}")));
        let named = |name: &str| ("name".to_owned(), json!(name));
        let mut tables = BTreeMap::from([
            ("listener".to_owned(), BTreeMap::from([named("mqtt"), address(places.mqtt_port)])),
            ("storage".to_owned(), BTreeMap::from([("path".to_owned(), json!(places.store))])),
        ]);
        if self.web_socket {
            tables.insert("web_socket".to_owned(), BTreeMap::from([named("web"), address(places.web_socket_port)]));
        }
        for (name, protected, dangerous) in [("listener", "tls", "tcp"), ("web_socket", "wss", "ws")] {
            let Some(listener) = tables.get_mut(name) else { continue };
            match self.identities {
                Identities::Certificates => {
                    listener.insert("kind".to_owned(), json!(protected));
                    tables.insert(format!("{name}.tls"), tls_table(places));
                }
                Identities::DangerAnonymous => {
                    listener.insert("kind".to_owned(), json!(dangerous));
                    listener.insert("danger_plaintext".to_owned(), json!(true));
                    listener.insert("danger_anonymous".to_owned(), json!(true));
                }
            }
        }
        if self.identities == Identities::Certificates {
            let api = BTreeMap::from([("admins".to_owned(), json!(["operator"])), address(places.api_port)]);
            tables.insert("api".to_owned(), api);
            tables.insert("api.tls".to_owned(), tls_table(places));
            let master_key = json!(places.certs.join(MASTER_KEY));
            tables.entry("storage".to_owned()).or_default().insert("master_key_file".to_owned(), master_key);
        }
        for (name, keys) in &self.tables {
            tables.entry(name.clone()).or_default().extend(keys.clone());
        }
        let mut text = String::new();
        // JSON's strings, numbers and lists are TOML's, too. `listener` sorts before `listener.tls`, as TOML wants it.
        for (name, keys) in &tables {
            text.push_str(&match name.as_str() {
                "listener" | "web_socket" => "[[listener]]\n".to_owned(),
                "web_socket.tls" => "[listener.tls]\n".to_owned(),
                name => format!("[{name}]\n"),
            });
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text.push_str(&self.rules_toml());
        text
    }

    fn rules_toml(&self) -> String {
        let mut text = String::new();
        for (initiator, may_invite) in &self.rules {
            let (initiator, may_invite) = (json!(initiator), json!(may_invite));
            text.push_str(&format!("[[transactions.rule]]\ninitiator = {initiator}\nmay_invite = {may_invite}\n"));
        }
        for rule in self.access_rules.iter().filter_map(Value::as_object) {
            text.push_str("[[acl.rule]]\n");
            for (key, value) in rule {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    }
}

fn tls_table(places: &Places<'_>) -> BTreeMap<String, Value> {
    let file = |name: &str| json!(places.certs.join(name));
    BTreeMap::from([
        ("certificate".to_owned(), file(&format!("{BROKER}.pem"))),
        ("key".to_owned(), file(&format!("{BROKER}.key.pem"))),
        ("client_ca".to_owned(), file("ca.pem")),
    ])
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::LazyLock;

    use super::{BrokerOptions, Places};

    static PLACES: LazyLock<Places<'static>> = LazyLock::new(|| Places {
        certs: Path::new("/c"),
        store: Path::new("/s"),
        mqtt_port: 1,
        web_socket_port: 3,
        api_port: 2,
    });

    #[test]
    fn what_a_test_sets_stands_beside_what_a_broker_needs() {
        let text = BrokerOptions::default()
            .set("storage.durability", "os")
            .set("listener.connections_max", 3)
            .rules(&[(&["alice"], &["b*", "carol"])])
            .drop_lane_message_every(4)
            .with_access_rule("deny", "publish", &["news/#", "home/%u"], &["b*"])
            .with_open_topics()
            .to_toml(&PLACES);
        for line in [
            "[storage]\ndurability = \"os\"\nmaster_key_file = \"/c/master.key\"\npath = \"/s\"\n",
            "[[listener]]\naddress = \"127.0.0.1:1\"\nconnections_max = 3\nkind = \"tls\"\nname = \"mqtt\"\n",
            "[danger]\ndrop_lane_message_every = 4\n",
            "initiator = [\"alice\"]\nmay_invite = [\"b*\",\"carol\"]\n",
            "action = \"publish\"\nparties = [\"b*\"]\npermission = \"deny\"\ntopics = [\"news/#\",\"home/%u\"]\n[[acl.rule]]\n",
        ] {
            assert!(text.contains(line), "{line:?} is in\n{text}");
        }
    }

    #[test]
    fn a_dangerous_broker_has_two_listeners_and_nothing_with_tls() {
        let options =
            BrokerOptions::default().danger_anonymous().with_web_socket().set("web_socket.packet_bytes_max", 2048);
        let text = options.to_toml(&PLACES);
        let dangers = "danger_anonymous = true\ndanger_plaintext = true\n";
        for line in [
            format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{dangers}kind = \"tcp\"\nname = \"mqtt\"\n"),
            format!(
                "[[listener]]\naddress = \"127.0.0.1:3\"\n{dangers}kind = \"ws\"\nname = \"web\"\npacket_bytes_max"
            ),
        ] {
            assert!(text.contains(&line), "{line:?} is in\n{text}");
        }
        assert!(!text.contains("tls") && !text.contains("[api]"), "{text}");
    }
}
