use async_trait::async_trait;
use quorate_backbone::{SessionStore, Start, TakenOver};
use quorate_domain::{Agreement, BackfillMove, UnixMs, WaitingWill};

use super::*;
use crate::fixtures::{author, backbone, key, open_access};

/// A store that cannot do anything at the moment.
struct Failing;

fn fails<T, E: From<StoreError>>() -> Result<T, E> {
    Err(StoreError::Fault("the disk is full".to_owned()).into())
}

#[async_trait]
impl SessionStore for Failing {
    async fn take_over(&self, _: &SessionKey, _: Start, _: &Agreement, _: UnixMs) -> Result<TakenOver, StoreError> {
        fails()
    }
    async fn save(&self, _: &SessionKey, _: u64, _: &SessionRecord, _: &[String]) -> Result<(), SaveError> {
        fails()
    }
    async fn save_cursors(&self, _: &SessionKey, _: u64, _: &CursorMoves) -> Result<(), SaveError> {
        fails()
    }
    async fn hold(&self, _: &SessionKey, _: u64, _: &[InflightRecord]) -> Result<(), SaveError> {
        fails()
    }
    async fn release(&self, _: &SessionKey, _: u64, _: &[u16]) -> Result<(), SaveError> {
        fails()
    }
    async fn discard_will(&self, _: &SessionKey, _: u64) -> Result<(), SaveError> {
        fails()
    }
    async fn say_will(&self, _: &SessionKey, _: u64) -> Result<(), StoreError> {
        fails()
    }
    async fn wills(&self) -> Result<Vec<WaitingWill>, StoreError> {
        fails()
    }
    async fn remove(&self, _: &SessionKey, _: u64) -> Result<(), SaveError> {
        fails()
    }
}

fn dealings(sessions: Arc<dyn SessionStore>) -> Dealings {
    let (completions, _) = mpsc::channel(1);
    let backbone = Backbone { sessions, ..backbone(open_access()) };
    Dealings::new(backbone, author("alice"), key("alice"), 7, completions)
}

#[tokio::test(start_paused = true)]
async fn a_will_that_could_not_be_said_at_once_is_left_to_be_tried_again() {
    let wills = Arc::new(Wills::default());
    let mut dealings = dealings(Arc::new(Failing));
    dealings.leave_will(Duration::ZERO, &wills);
    assert_eq!(wills.waiting(), 0);
    dealings.finish().await;
    assert_eq!(wills.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_moved_and_was_not_stored_comes_back_whole() {
    let mut dealings = dealings(Arc::new(Failing));
    let moves = CursorMoves { settled: vec![3], dequeued: vec![Seq(7)], ..CursorMoves::default() };
    dealings.save_cursors(moves.clone());
    let answer = dealings.next().await;
    assert!(matches!(answer, Answer::CursorsNotStored(SaveError::Store(_), back) if back == moves));
}

#[test]
fn what_moves_while_another_write_is_under_way_is_stored_together_and_the_newest_counts() {
    let mut moves = GatheredMoves::default();
    let tx: TxId = "a-room-of-its-own".parse().unwrap();
    let filter = "tx/+/#".to_owned();
    for seq in [1, 2] {
        moves.add(CursorMoves {
            cursors: vec![(tx.clone(), Some(Seq(seq)))],
            backfills: vec![BackfillMove { filter: filter.clone(), tx: tx.clone(), next: Some(Seq(seq)) }],
            settled: vec![u16::try_from(seq).unwrap()],
            dequeued: vec![Seq(seq), Seq(9)],
        });
    }
    let expected = CursorMoves {
        cursors: vec![(tx.clone(), Some(Seq(2)))],
        backfills: vec![BackfillMove { filter, tx, next: Some(Seq(2)) }],
        settled: vec![1, 2],
        dequeued: vec![Seq(1), Seq(2), Seq(9)],
    };
    assert_eq!(moves.take(), expected);
    assert!(moves.take().is_empty());
}
