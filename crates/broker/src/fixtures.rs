//! What the tests of this room share: a backbone in memory where everybody may do everything.

use std::sync::Arc;

use quorate_backbone::memory::memory_backbone;
use quorate_backbone::{Backbone, Mailbox, Start, TopicRules};
use quorate_domain::{
    AccessRule, AccessRules, Action, Agreement, Author, CnPattern, CreationRules, Delivery, PartyId, Permission,
    Queued, SessionExpiry, SessionKey, SessionRecord, Sha256, SubscriptionRecord, TransactionRule, UnixMs,
};

/// The admin of [`open_access`].
pub(crate) const OPERATOR: &str = "operator";

fn everybody() -> Vec<CnPattern> {
    vec!["*".parse().unwrap()]
}

/// Everybody may publish and hear everything; only [`OPERATOR`] hears `$SYS`.
pub(crate) fn open_access() -> Arc<AccessRules> {
    let rule = AccessRule {
        permission: Permission::Allow,
        actions: vec![Action::Publish, Action::Subscribe],
        topics: vec!["#".parse().unwrap()],
        parties: everybody(),
    };
    Arc::new(AccessRules::new(vec![rule], vec![party(OPERATOR)]))
}

/// An empty backbone, in which everybody may create transactions.
pub(crate) fn backbone(access: Arc<AccessRules>) -> Backbone {
    let rules = CreationRules(vec![TransactionRule { initiator: everybody(), may_invite: everybody() }]);
    memory_backbone(rules, TopicRules { access, ..TopicRules::default() })
}

pub(crate) fn party(name: &str) -> PartyId {
    PartyId::new(name).unwrap()
}

pub(crate) fn author(name: &str) -> Author {
    Author { party: party(name), certificate: Sha256::of(name.as_bytes()) }
}

pub(crate) fn key(name: &str) -> SessionKey {
    SessionKey { party: party(name), client_id: "c".to_owned() }
}

/// A session that subscribes to `filter` at QoS 0, and ends with its connection.
pub(crate) struct Listener {
    mailbox: Mailbox,
}

impl Listener {
    pub(crate) async fn start(backbone: &Backbone, name: &str, filter: &str) -> Self {
        let key = key(name);
        let mailbox = backbone.fanout.mailbox(&key);
        let agreement = Agreement::lasting(SessionExpiry::AtDisconnect);
        let taken = backbone.sessions.take_over(&key, Start::Clean, &agreement, UnixMs(0)).await.unwrap();
        let subscription = SubscriptionRecord { retain_as_published: true, ..SubscriptionRecord::new(filter, 0) };
        let record = SessionRecord { subscriptions: vec![subscription], ..SessionRecord::default() };
        backbone.sessions.save(&key, taken.epoch, &record, &[]).await.unwrap();
        Self { mailbox }
    }

    /// The next message, as topic and payload.
    pub(crate) async fn hear(&mut self) -> (String, String) {
        loop {
            if let Delivery::Queued(queued) = self.mailbox.recv().await {
                let Queued { message, .. } = *queued;
                return (message.topic.clone(), String::from_utf8(message.payload.to_vec()).unwrap());
            }
        }
    }
}
