//! What stays of a transaction that was purged: enough that its id is never used again, and that its parties can prove
//! how it ended.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::hash::Sha256;
use crate::ids::TxId;
use crate::party::PartyId;
use crate::transaction::{Transaction, TxState};

/// What stays of a purged transaction, under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// How it ended.
    pub state: TxState,
    /// The sum of its manifest.
    pub manifest_sha256: Sha256,
    /// The sum of the result that completed it.
    pub result_sha256: Option<Sha256>,
    /// The head of its log's hash chain, the closing record included.
    pub head: Sha256,
    /// Who may read this, not in clear: of each member the first 8 bytes of SHA-256 of the id, a zero byte and the CN.
    members: Vec<[u8; 8]>,
}

impl Tombstone {
    /// What stays of this transaction.
    pub fn of(transaction: &Transaction) -> Tombstone {
        let Transaction { charter, progress } = transaction;
        let mut votes: HashMap<Sha256, usize> = HashMap::new();
        for result in progress.results.iter().flatten() {
            *votes.entry(*result).or_default() += 1;
        }
        let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
        Tombstone {
            state: progress.state,
            manifest_sha256: charter.manifest_sha256,
            result_sha256: most.map(|(result, _)| result).filter(|_| progress.state == TxState::Completed),
            head: progress.head,
            members: charter.members().map(|member| mark(&charter.tx, member)).collect(),
        }
    }

    /// Whether this party was a member of `tx`, whose tombstone this is.
    pub fn may_read(&self, tx: &TxId, party: &PartyId) -> bool {
        self.members.contains(&mark(tx, party))
    }
}

fn mark(tx: &TxId, member: &PartyId) -> [u8; 8] {
    let mut sum = sha2::Sha256::new();
    sum.update(tx.as_str());
    sum.update([0]);
    sum.update(member.as_str());
    let sum: [u8; 32] = sum.finalize().into();
    sum.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{created, manifest_json, party};

    #[test]
    fn members_may_read_it_and_nobody_else() {
        let (transaction, _) = created(manifest_json("dave", &["alice", "bob"]));
        let tx = &transaction.charter.tx;
        let tombstone = Tombstone::of(&transaction);
        for name in ["alice", "bob", "dave"] {
            assert!(tombstone.may_read(tx, &party(name)), "{name}");
        }
        assert!(!tombstone.may_read(tx, &party("mallory")));
    }

    #[test]
    fn it_takes_no_more_than_200_bytes_for_nine_parties() {
        let names: Vec<_> = (0..9).map(|n| format!("party-{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let (mut transaction, _) = created(manifest_json(names[0], &names));
        transaction.progress.state = TxState::Completed;
        transaction.progress.results[0] = Some(Sha256::of(b"result"));
        let bytes = postcard::to_stdvec(&Tombstone::of(&transaction)).expect("serialises").len();
        assert!(bytes + transaction.charter.tx.as_str().len() + 2 <= 200, "{bytes}");
    }
}
