//! Who may create which transactions: `[[transactions.rule]]` of the config. None by default.

use serde::{Deserialize, Serialize};

use crate::cn_pattern::CnPattern;
use crate::manifest::Manifest;
use crate::party::PartyId;

/// One `[[transactions.rule]]`: these initiators may invite these parties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionRule {
    /// Who may create.
    pub initiator: Vec<CnPattern>,
    /// Whom they may list.
    pub may_invite: Vec<CnPattern>,
}

/// All rules. Without one, nobody creates anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CreationRules(pub Vec<TransactionRule>);

impl CreationRules {
    /// Whether one rule lets this initiator invite every party other than itself.
    pub fn may_create(&self, manifest: &Manifest) -> bool {
        let initiator = &manifest.initiator;
        let invited = || manifest.parties.iter().filter(|party| *party != initiator);
        self.0.iter().any(|rule| {
            matches_any(&rule.initiator, initiator) && invited().all(|party| matches_any(&rule.may_invite, party))
        })
    }

    /// Whether some rule lets this party create anything at all.
    pub fn may_initiate(&self, party: &PartyId) -> bool {
        self.0.iter().any(|rule| matches_any(&rule.initiator, party))
    }
}

fn matches_any(patterns: &[CnPattern], party: &PartyId) -> bool {
    patterns.iter().any(|pattern| pattern.matches(party))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::manifest;

    fn rule(initiator: &[&str], may_invite: &[&str]) -> TransactionRule {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a pattern")).collect();
        TransactionRule { initiator: patterns(initiator), may_invite: patterns(may_invite) }
    }

    #[test]
    fn without_a_rule_nobody_creates() {
        assert!(!CreationRules::default().may_create(&manifest("alice", &["alice", "bob"])));
    }

    #[test]
    fn every_party_other_than_the_initiator_must_be_invitable() {
        let rules = CreationRules(vec![rule(&["alice"], &["bob", "carol"])]);
        assert!(rules.may_create(&manifest("alice", &["alice", "bob", "carol"])));
        assert!(!rules.may_create(&manifest("alice", &["alice", "bob", "dave"])));
        assert!(!rules.may_create(&manifest("bob", &["bob", "carol"])));
    }

    #[test]
    fn two_rules_do_not_add_up() {
        let rules = CreationRules(vec![rule(&["alice"], &["bob"]), rule(&["alice"], &["carol"])]);
        assert!(rules.may_create(&manifest("alice", &["alice", "bob"])));
        assert!(!rules.may_create(&manifest("alice", &["alice", "bob", "carol"])));
    }

    #[test]
    fn an_initiator_that_is_no_party_invites_all_of_them() {
        let rules = CreationRules(vec![rule(&["coordinator"], &["signer-*"])]);
        assert!(rules.may_create(&manifest("coordinator", &["signer-1", "signer-2"])));
        assert!(!rules.may_create(&manifest("coordinator", &["signer-1", "alice"])));
        assert!(rules.may_initiate(&"coordinator".parse().expect("a valid id")));
        assert!(!rules.may_initiate(&"signer-1".parse().expect("a valid id")));
    }
}
