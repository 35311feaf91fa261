//! Ordinary topics where this backbone alone can fail them: a process that is killed, a disk that fails, lanes that lose
//! copies. What every backbone does with them is in the suite.

mod leftovers;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use quorate_backbone::{Appended, Backbone, Mailbox, Publication, ReadLimit, Receipt, SaveError, Start};
use quorate_domain::{
    Agreement, Author, CursorMoves, Delivery, MessageProperties, Qos, Queued, Refusal, Seq, SessionExpiry, SessionKey,
    SessionRecord, Sha256, SubscriptionRecord, UnixMs, Will,
};

use super::durability::copy_files;
use super::{EVERYTHING, directory, faults, open, party, session, soon, until};
use crate::store::tests::{count_ordinary, queues_in};

const SHARED: &str = "$share/workers/jobs/#";

/// A connected session and what it subscribes to.
struct Listener {
    backbone: Backbone,
    key: SessionKey,
    epoch: u64,
    mailbox: Mailbox,
    record: SessionRecord,
}

impl Listener {
    async fn connect(backbone: &Backbone, name: &str, start: Start, expiry: SessionExpiry, will: Option<Will>) -> Self {
        let key = session(name);
        let mailbox = backbone.fanout.mailbox(&key);
        let agreement = Agreement { expiry, will };
        let taken = soon(backbone.sessions.take_over(&key, start, &agreement, UnixMs(1))).await.expect("taken over");
        let kept = taken.stored.map(|stored| stored.record).unwrap_or_default();
        let record = SessionRecord { expiry, disconnected_at: None, ..kept };
        Listener { backbone: backbone.clone(), key, epoch: taken.epoch, mailbox, record }
    }

    /// A new session that outlives its connection.
    async fn lasting(backbone: &Backbone, name: &str, filter: &str) -> Listener {
        let mut listener = Self::connect(backbone, name, Start::Clean, SessionExpiry::Never, None).await;
        listener.subscribe(filter, &[]).await.expect("saved");
        listener
    }

    /// A new session that ends with its connection.
    async fn passing(backbone: &Backbone, name: &str, filter: &str) -> Listener {
        let mut listener = Self::connect(backbone, name, Start::Clean, SessionExpiry::AtDisconnect, None).await;
        listener.subscribe(filter, &[]).await.expect("saved");
        listener
    }

    async fn come_back(backbone: &Backbone, name: &str) -> Listener {
        Self::connect(backbone, name, Start::Resume, SessionExpiry::Never, None).await
    }

    async fn subscribe(&mut self, filter: &str, replay: &[String]) -> Result<(), SaveError> {
        self.record.subscriptions.push(SubscriptionRecord::new(filter, 2));
        soon(self.backbone.sessions.save(&self.key, self.epoch, &self.record, replay)).await
    }

    /// The connection of a session that outlives it ends.
    async fn leave(mut self) {
        self.record.disconnected_at = Some(UnixMs(2));
        soon(self.backbone.sessions.save(&self.key, self.epoch, &self.record, &[])).await.expect("saved");
    }

    async fn queue_after(&self, after: Seq, limit: ReadLimit) -> (Vec<Queued>, bool) {
        let page = soon(self.backbone.topics.read_queue(&self.key, after, limit)).await.expect("readable");
        (page.entries, page.is_end)
    }

    async fn queue(&self) -> Vec<Queued> {
        self.queue_after(Seq::ZERO, EVERYTHING).await.0
    }

    async fn waiting(&self) -> Vec<String> {
        self.queue().await.iter().map(payload).collect()
    }

    /// Waits until so many messages wait in the queue, and gives their payloads.
    async fn until_waiting(&self, count: usize) -> Vec<String> {
        let looking = async {
            loop {
                let waiting = self.waiting().await;
                if waiting.len() == count {
                    return waiting;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(looking).await
    }

    async fn dequeue_all(&self) {
        let dequeued = self.queue().await.iter().map(|queued| queued.seq).collect();
        let moves = CursorMoves { dequeued, ..CursorMoves::default() };
        soon(self.backbone.sessions.save_cursors(&self.key, self.epoch, &moves)).await.expect("stored");
    }

    /// Hears like a session does, but for what it might conclude from a gap: a live copy if it is the next one, and what
    /// the queue holds once it is told to look. How many came live.
    async fn hear(&mut self, count: usize) -> (Vec<String>, usize) {
        const PAGE: ReadLimit = ReadLimit { messages: 7, bytes: usize::MAX };
        let (mut heard, mut live, mut position) = (Vec::new(), 0, Seq::ZERO);
        while heard.len() < count {
            match soon(self.mailbox.recv()).await {
                Delivery::Queued(copy) if copy.seq > position && copy.prev <= position => {
                    live += 1;
                    position = copy.seq;
                    heard.push(payload(&copy));
                }
                Delivery::Queued(_) => {}
                Delivery::Behind => {
                    let mut is_end = false;
                    while !is_end {
                        let entries;
                        (entries, is_end) = self.queue_after(position, PAGE).await;
                        position = entries.last().map_or(position, |last| last.seq);
                        heard.extend(entries.iter().map(payload));
                    }
                }
                other => panic!("a message of an ordinary topic was expected, not {other:?}"),
            }
        }
        (heard, live)
    }
}

fn payload(queued: &Queued) -> String {
    String::from_utf8_lossy(&queued.message.payload).into_owned()
}

fn author(name: &str) -> Author {
    Author { party: party(name), certificate: Sha256::of(name.as_bytes()) }
}

/// A publish at QoS 1 by a party that has no session.
fn says(topic: &str, payload: &str) -> Publication {
    Publication {
        topic: topic.to_owned(),
        author: Some(author("zoe")),
        session: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: MessageProperties::default(),
        receipt: None,
    }
}

async fn publish(backbone: &Backbone, publication: Publication) -> Result<Appended, Refusal> {
    soon(backbone.topics.publish(publication)).await
}

async fn say(backbone: &Backbone, topic: &str, payload: &str) {
    publish(backbone, says(topic, payload)).await.expect("taken");
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn will(topic: &str) -> Will {
    Will {
        author: author("bob"),
        topic: topic.to_owned(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: MessageProperties::default(),
        payload: Bytes::from_static(b"bob is gone"),
        delay_s: 30,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_of_ordinary_topics_survives_a_kill() {
    const MESSAGES: usize = 100;
    let (running, killed) = (directory(), directory());
    let local = open(running.path(), None);
    let backbone = local.backbone();
    Listener::lasting(&backbone, "alice", "a/#").await.leave().await;
    let dave = Listener::lasting(&backbone, "dave", "a/+").await;
    let (start, never) = (Start::Clean, SessionExpiry::Never);
    let bob = Listener::connect(&backbone, "bob", start, never, Some(will("a/gone"))).await;
    for number in 0..MESSAGES {
        let topic = format!("a/{}", number % 3);
        let said = Publication { retain: number % 2 == 0, ..says(&topic, &number.to_string()) };
        publish(&backbone, said).await.expect("taken");
    }
    publish(&backbone, Publication { retain: true, ..says("a/1", "") }).await.expect("cleared");
    let receipt = |epoch| Some(Receipt { session: bob.key.clone(), epoch, packet_id: 7 });
    let once = |epoch| Publication { receipt: receipt(epoch), qos: Qos::ExactlyOnce, ..says("a/b/c", "once") };
    publish(&backbone, once(bob.epoch)).await.expect("taken");
    copy_files(running.path(), killed.path());

    let again = open(killed.path(), None);
    let found = again.backbone();
    assert_eq!(found.topics.counts(), backbone.topics.counts());
    let alice = Listener::come_back(&found, "alice").await;
    let queue = alice.queue().await;
    let expected = [numbers(MESSAGES), vec![String::new(), "once".to_owned()]].concat();
    assert_eq!(queue.iter().map(payload).collect::<Vec<_>>(), expected);
    assert!(queue.is_sorted_by(|one, next| next.prev == one.seq && one.seq < next.seq));
    // Whoever was connected finds what it had not acknowledged as well.
    assert_eq!(Listener::come_back(&found, "dave").await.queue().await, dave.queue().await);
    let mut carol = Listener::connect(&found, "carol", start, never, None).await;
    carol.subscribe("a/#", &["a/#".to_owned()]).await.expect("saved");
    assert_eq!(carol.until_waiting(2).await, ["96", "98"], "what is retained of a/0 and a/2");
    let waiting = soon(found.sessions.wills()).await.expect("readable");
    assert_eq!(
        waiting.iter().map(|it| (&it.key, it.epoch, it.delay_s)).collect::<Vec<_>>(),
        [(&bob.key, bob.epoch, 30)]
    );
    soon(found.sessions.say_will(&bob.key, bob.epoch)).await.expect("said");
    // Numbers go on behind those that were given, and a publish that has its receipt is not made again.
    let last = alice.queue().await.pop().expect("the will");
    assert_eq!((payload(&last).as_str(), last.prev), ("bob is gone", queue[queue.len() - 1].seq));
    assert!(last.seq > last.prev);
    let bob_again = Listener::come_back(&found, "bob").await;
    assert!(publish(&found, once(bob_again.epoch)).await.expect("taken").repeated);
    assert_eq!(alice.queue().await.len(), queue.len() + 1);
    soon(again.shut_down()).await;
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_from_the_disk_with_its_last_queue() {
    let directory = directory();
    let local = open(directory.path(), None);
    let backbone = local.backbone();
    let alice = Listener::lasting(&backbone, "alice", "a").await;
    let bob = Listener::passing(&backbone, "bob", "#").await;
    let _before = Listener::lasting(&backbone, "carol", "+").await;
    for number in numbers(20) {
        say(&backbone, "a", &number).await;
    }
    alice.dequeue_all().await;
    soon(backbone.sessions.remove(&bob.key, bob.epoch)).await.expect("removed");
    // A session that begins anew leaves its queue behind.
    drop(Listener::connect(&backbone, "carol", Start::Clean, SessionExpiry::Never, None).await);
    until("all queues are empty", || backbone.topics.counts().queued == 0).await;
    soon(local.shut_down()).await;
    assert_eq!((count_ordinary(directory.path()), queues_in(directory.path())), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_stays_on_the_disk_while_one_queue_holds_it() {
    let directory = directory();
    let local = open(directory.path(), None);
    let backbone = local.backbone();
    let alice = Listener::lasting(&backbone, "alice", "a").await;
    let bob = Listener::lasting(&backbone, "bob", "a").await;
    say(&backbone, "a", "for both").await;
    alice.dequeue_all().await;
    assert_eq!(bob.waiting().await, ["for both"]);
    soon(local.shut_down()).await;
    // The message and how many queues refer to it.
    assert_eq!((count_ordinary(directory.path()), queues_in(directory.path())), (2, vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_no_queue_of_an_ended_session_is_left_and_its_share_reaches_another() {
    let (running, killed) = (directory(), directory());
    let local = open(running.path(), None);
    let backbone = local.backbone();
    Listener::lasting(&backbone, "bob", SHARED).await.leave().await;
    let mut alice = Listener::passing(&backbone, "alice", SHARED).await;
    alice.subscribe("own", &[]).await.expect("saved");
    for number in numbers(10) {
        say(&backbone, "jobs/a", &number).await;
        say(&backbone, "own", "for alice alone").await;
    }
    assert_eq!(alice.queue().await.len(), 20, "a member that is there comes first");
    copy_files(running.path(), killed.path());

    let again = open(killed.path(), None);
    let found = again.backbone();
    let bob = Listener::come_back(&found, "bob").await;
    assert_eq!(bob.until_waiting(10).await, numbers(10));
    assert_eq!(found.topics.counts().subscriptions, 1, "alice's ended with her connection");
    assert!(Listener::passing(&found, "alice", "own").await.queue().await.is_empty());
    until("nothing else is left", || found.topics.counts().queued == 10).await;
    soon(again.shut_down()).await;
    soon(local.shut_down()).await;
    assert_eq!((count_ordinary(killed.path()), queues_in(killed.path())), (0, vec![10]));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_a_publish_is_heard_by_exactly_those_who_subscribe() {
    let directory = directory();
    let (local, faults) = faults::open(directory.path());
    let backbone = local.backbone();
    let ready = async || until("ready again", || backbone.health.ready().is_ok()).await;
    let mut alice = Listener::lasting(&backbone, "alice", "a").await;
    let bob = Listener::passing(&backbone, "bob", "a").await;
    let dave = Listener::passing(&backbone, "dave", "a").await;
    say(&backbone, "a", "before").await;
    // While the store fails, this connection ends: nobody can say so any more.
    drop(dave.mailbox);
    faults.writes.store(1, Ordering::Release);
    assert!(alice.subscribe("not taken", &[]).await.is_err());
    alice.record.subscriptions.pop();
    ready().await;
    say(&backbone, "not taken", "nobody subscribes").await;
    say(&backbone, "a", "after a subscription failed").await;
    faults.writes.store(1, Ordering::Release);
    assert!(publish(&backbone, Publication { retain: true, ..says("a", "lost") }).await.is_err());
    ready().await;
    faults.syncs.store(1, Ordering::Release);
    assert!(publish(&backbone, Publication { retain: true, ..says("a", "kept all the same") }).await.is_err());
    ready().await;
    faults.syncs.store(1, Ordering::Release);
    assert!(alice.subscribe("c", &[]).await.is_err());
    ready().await;
    say(&backbone, "c", "it was taken all the same").await;
    say(&backbone, "a", "last").await;
    let of_both = ["before", "after a subscription failed", "kept all the same", "last"];
    let of_alice = [&of_both[..3], &["it was taken all the same"], &of_both[3..]].concat();
    assert_eq!(alice.waiting().await, of_alice);
    assert_eq!(bob.waiting().await, of_both);
    for queue in [alice.queue().await, bob.queue().await] {
        assert!(queue.is_sorted_by(|one, next| next.prev == one.seq && one.seq < next.seq));
    }
    until("dave's queue is taken away", || backbone.topics.counts().queued == 9).await;
    let counts = backbone.topics.counts();
    assert_eq!((counts.subscriptions, counts.retained), (3, 1));
    // What is counted is what is there.
    for listener in [&alice, &bob] {
        listener.dequeue_all().await;
    }
    assert_eq!(backbone.topics.counts().queued, 0);
    soon(local.shut_down()).await;
    assert_eq!((count_ordinary(directory.path()), queues_in(directory.path())), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_lane_loses_is_found_in_the_queue() {
    const MESSAGES: usize = 300;
    for drop_every in [1, 2, 3, 7] {
        let directory = directory();
        let local = open(directory.path(), Some(drop_every));
        let backbone = local.backbone();
        let mut alice = Listener::passing(&backbone, "alice", "a").await;
        let writer = tokio::spawn({
            let backbone = backbone.clone();
            async move {
                for number in numbers(MESSAGES) {
                    say(&backbone, "a", &number).await;
                }
            }
        });
        let (heard, live) = alice.hear(MESSAGES).await;
        soon(writer).await.expect("the writer ends well");
        assert_eq!(heard, numbers(MESSAGES), "every {drop_every}. copy is lost");
        assert!(drop_every > 1 || live == 0);
        soon(local.shut_down()).await;
    }
}
