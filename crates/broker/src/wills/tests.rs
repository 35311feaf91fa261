use bytes::Bytes;
use quorate_backbone::Start;
use quorate_domain::{Agreement, MessageProperties, Qos, SessionExpiry, UnixMs, Will};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::fixtures::{Listener, author, backbone, key, open_access};

/// The least delay after a start.
const START_S: u32 = 30;

struct Stage {
    backbone: Backbone,
    wills: Arc<Wills>,
    drain: watch::Sender<bool>,
    keeper: JoinHandle<()>,
}

impl Stage {
    fn new() -> Self {
        Self::on(backbone(open_access()), Wills::default())
    }

    fn on(backbone: Backbone, wills: Wills) -> Self {
        let wills = Arc::new(wills);
        let (drain, draining) = watch::channel(false);
        let keeper = WillKeeper::new(Arc::clone(&wills), backbone.clone(), Draining::new(draining));
        Self { backbone, wills, drain, keeper: tokio::spawn(keeper.run()) }
    }
}

/// Connects a party that leaves a will, and gives the epoch of its session.
async fn connect(backbone: &Backbone, name: &str, delay_s: u32) -> u64 {
    let will = Will {
        author: author(name),
        topic: format!("status/{name}"),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: MessageProperties::default(),
        payload: Bytes::from_static(b"gone"),
        delay_s,
    };
    let agreement = Agreement { expiry: SessionExpiry::Never, will: Some(will) };
    backbone.sessions.take_over(&key(name), Start::Resume, &agreement, UnixMs(0)).await.unwrap().epoch
}

fn of(name: &str) -> (String, String) {
    (format!("status/{name}"), "gone".to_owned())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn wills_are_said_when_their_time_comes_whatever_their_order() {
    let stage = Stage::new();
    let mut bob = Listener::start(&stage.backbone, "bob", "status/#").await;
    let start = Instant::now();
    for (name, delay_s) in [("late", 20), ("early", 5), ("latest", u32::MAX)] {
        let epoch = connect(&stage.backbone, name, delay_s).await;
        stage.wills.leave(Arc::new(key(name)), epoch, seconds(u64::from(delay_s)));
    }
    assert_eq!(bob.hear().await, of("early"));
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(bob.hear().await, of("late"));
    assert_eq!(start.elapsed().as_secs(), 20);
    assert_eq!(stage.backbone.sessions.wills().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_will_whose_session_was_taken_over_is_not_said() {
    let stage = Stage::new();
    let mut bob = Listener::start(&stage.backbone, "bob", "status/#").await;
    let epoch = connect(&stage.backbone, "back", 5).await;
    stage.wills.leave(Arc::new(key("back")), epoch, seconds(5));
    connect(&stage.backbone, "back", 5).await;
    let epoch = connect(&stage.backbone, "gone", 6).await;
    stage.wills.leave(Arc::new(key("gone")), epoch, seconds(6));
    assert_eq!(bob.hear().await, of("gone"));
    assert_eq!(stage.backbone.sessions.wills().await.unwrap().len(), 1, "that of the connection that lives");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_left_waits_for_the_clients_to_come_back() {
    let backbone = backbone(open_access());
    for (name, delay_s) in [("at-once", 0), ("later", START_S + 10), ("back", 0)] {
        connect(&backbone, name, delay_s).await;
    }
    let start = Instant::now();
    let wills = Wills::left_behind(&backbone, START_S).await.unwrap();
    let stage = Stage::on(backbone, wills);
    let mut bob = Listener::start(&stage.backbone, "bob", "status/#").await;
    connect(&stage.backbone, "back", 0).await;
    assert_eq!(bob.hear().await, of("at-once"));
    assert_eq!(start.elapsed().as_secs(), u64::from(START_S));
    assert_eq!(bob.hear().await, of("later"));
    assert_eq!(start.elapsed().as_secs(), u64::from(START_S) + 10);
}

#[tokio::test(start_paused = true)]
async fn more_wills_than_are_said_at_a_time_are_all_said() {
    let stage = Stage::new();
    let mut bob = Listener::start(&stage.backbone, "bob", "status/#").await;
    let names: BTreeSet<String> = (0..3 * SAYING_MAX).map(|n| format!("party-{n}")).collect();
    for name in &names {
        let epoch = connect(&stage.backbone, name, 1).await;
        stage.wills.leave(Arc::new(key(name)), epoch, seconds(1));
    }
    let mut said = BTreeSet::new();
    for _ in &names {
        said.insert(bob.hear().await.0);
    }
    assert_eq!(said, names.iter().map(|name| format!("status/{name}")).collect());
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_none() {
    let stage = Stage::new();
    let epoch = connect(&stage.backbone, "alice", 5).await;
    stage.wills.leave(Arc::new(key("alice")), epoch, seconds(5));
    stage.drain.send_replace(true);
    stage.keeper.await.unwrap();
    assert_eq!(stage.backbone.sessions.wills().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_store_fault_a_will_is_tried_again_with_longer_and_longer_pauses() {
    let wills = Arc::new(Wills::default());
    let (_drain, draining) = watch::channel(false);
    let mut keeper = WillKeeper::new(Arc::clone(&wills), backbone(open_access()), Draining::new(draining));
    wills.leave(Arc::new(key("alice")), 7, Duration::ZERO);
    for pause_s in [1, 2, 4, 8, 16, 32, 60, 60] {
        let due = wills.due().await;
        assert_eq!(due.left.epoch, 7);
        let start = Instant::now();
        keeper.try_again(due, "the disk is on fire");
        assert!(keeper.is_failing);
        let again = wills.due().await;
        assert_eq!(start.elapsed().as_secs(), pause_s);
        wills.put(again.key, again.left);
    }
}

#[tokio::test(start_paused = true)]
async fn of_one_session_the_will_of_the_latest_connection_waits() {
    let wills = Wills::default();
    for (epoch, delay_s) in [(2, 10), (3, 20), (1, 5)] {
        wills.leave(Arc::new(key("alice")), epoch, seconds(delay_s));
    }
    let start = Instant::now();
    assert_eq!(wills.due().await.left.epoch, 3);
    assert_eq!(start.elapsed().as_secs(), 20);
    let waiting = wills.lock();
    assert!(waiting.by_due.is_empty() && waiting.of_key.is_empty());
}

#[test]
fn only_so_many_wait_and_a_session_that_waits_is_not_one_more() {
    let mut waiting = Waiting::default();
    let due = Instant::now();
    let of = |n: usize| Arc::new(SessionKey { client_id: n.to_string(), ..key("alice") });
    let left = Left { epoch: 1, due, pause: PAUSE };
    for n in 0..WAITING_MAX {
        assert!(waiting.put(of(n), left));
    }
    assert!(!waiting.put(of(WAITING_MAX), left));
    assert!(waiting.put(of(0), Left { epoch: 2, ..left }));
    assert!(waiting.take_due(due).is_ok());
    assert!(waiting.put(of(WAITING_MAX), left));
}
