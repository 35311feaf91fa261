//! Each rule of the router by examples; all of them at once against a naive one in `model`.

mod model;

use bytes::Bytes;

use super::*;
use crate::access_rules::{AccessRule, Action, Permission};
use crate::fixtures::{NOW, party};
use crate::hash::Sha256;
use crate::message::{Author, MessageProperties};

const PRESENT: Subscriber = Subscriber { durable: true, present: true };
const PASSING: Subscriber = Subscriber { durable: false, present: true };
const AWAY: Subscriber = Subscriber { durable: true, present: false };
const LOST: Subscriber = Subscriber { durable: false, present: false };
const SHARED: &str = "$share/workers/jobs/#";

fn key(name: &str) -> SessionKey {
    SessionKey { party: party(name), client_id: "one".to_owned() }
}

/// A subscription at QoS 2 with nothing special about it.
fn to(filter: &str) -> SubscriptionRecord {
    SubscriptionRecord::new(filter, 2)
}

/// A message at QoS 2.
fn message(topic: &str) -> OrdinaryMessage {
    OrdinaryMessage {
        at: NOW,
        topic: topic.to_owned(),
        from: Some(Author { party: party("publisher"), certificate: Sha256::of(b"certificate") }),
        qos: Qos::ExactlyOnce,
        retain: false,
        properties: MessageProperties::default(),
        payload: Bytes::from_static(b"said"),
    }
}

/// Everybody may hear everything but what is under `closed/`, and `$SYS/` not at all.
fn open_access() -> Arc<AccessRules> {
    let rule = |permission, topic: &str| AccessRule {
        permission,
        actions: vec![Action::Subscribe],
        topics: vec![topic.parse().expect("a topic")],
        parties: vec!["*".parse().expect("a pattern")],
    };
    let rules = vec![rule(Permission::Deny, "closed/#"), rule(Permission::Allow, "#")];
    Arc::new(AccessRules::new(rules, Vec::new()))
}

fn router(sessions: &[(&str, Subscriber, &[SubscriptionRecord])]) -> Router {
    let mut router = Router::new(open_access());
    for (name, subscriber, records) in sessions {
        router.put(&key(name), *subscriber, records);
    }
    router
}

/// Who hears a message, in order.
fn hearers(router: &mut Router, message: &OrdinaryMessage) -> Vec<String> {
    let routed = router.route(message, None);
    routed.iter().map(|routed| routed.key.party.to_string()).collect()
}

/// Who hears the next messages of a share, one after the other.
fn turns(router: &mut Router, count: usize) -> Vec<String> {
    (0..count).flat_map(|_| hearers(router, &message("jobs/a"))).collect()
}

fn share() -> Share {
    Share { group: "workers".to_owned(), filter: "jobs/#".to_owned() }
}

#[track_caller]
fn assert_holds_nothing(router: &Router) {
    assert_eq!(router.subscriptions(), 0);
    assert!(router.own.is_empty() && router.shared.is_empty() && router.members.is_empty());
}

#[test]
fn several_subscriptions_of_a_session_bring_one_delivery() {
    let records = [
        SubscriptionRecord { qos: 0, identifier: Some(7), retain_as_published: true, ..to("a/#") },
        SubscriptionRecord { qos: 1, identifier: Some(3), ..to("a/+") },
        SubscriptionRecord { qos: 2, identifier: Some(9), ..to("b") },
        SubscriptionRecord { qos: 0, ..to("#") },
    ];
    let mut router = router(&[("alice", PRESENT, &records), ("bob", PRESENT, &[to("b")])]);
    let routed = router.route(&OrdinaryMessage { retain: true, ..message("a/b") }, None);
    let manner = Manner { qos: Qos::AtLeastOnce, retain: true, identifiers: vec![7, 3], share: None };
    assert_eq!(routed, [Routed { key: key("alice").into(), subscriber: PRESENT, manner }]);
}

#[test]
fn a_delivery_has_the_lesser_qos_of_publish_and_subscription() {
    use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    let cases = [
        (AtMostOnce, 2, AtMostOnce),
        (AtLeastOnce, 2, AtLeastOnce),
        (ExactlyOnce, 1, AtLeastOnce),
        (ExactlyOnce, 0, AtMostOnce),
        (ExactlyOnce, 2, ExactlyOnce),
    ];
    for (published, subscribed, delivered) in cases {
        for filter in ["jobs/a", SHARED] {
            let mut router = router(&[("alice", PRESENT, &[SubscriptionRecord { qos: subscribed, ..to(filter) }])]);
            let routed = router.route(&OrdinaryMessage { qos: published, ..message("jobs/a") }, None);
            assert_eq!(routed[0].manner.qos, delivered, "{published:?} {subscribed} {filter}");
        }
    }
}

#[test]
fn no_local_leaves_out_the_publishers_own_subscription_and_no_other() {
    let records = [
        SubscriptionRecord { no_local: true, qos: 2, identifier: Some(1), ..to("a") },
        SubscriptionRecord { qos: 1, identifier: Some(2), ..to("+") },
    ];
    let mut router = router(&[("alice", PRESENT, &records), ("bob", PRESENT, &records[..1])]);
    let phone = SessionKey { client_id: "phone".to_owned(), ..key("alice") };
    router.put(&phone, PRESENT, &records[..1]);
    let routed = router.route(&message("a"), Some(&key("alice")));
    let heard: Vec<_> = routed.iter().map(|it| (&*it.key, it.manner.qos, it.manner.identifiers.as_slice())).collect();
    let (alice, bob) = (key("alice"), key("bob"));
    let expected =
        [(&alice, Qos::AtLeastOnce, [2].as_slice()), (&bob, Qos::ExactlyOnce, &[1]), (&phone, Qos::ExactlyOnce, &[1])];
    assert_eq!(heard, expected);
    router.put(&alice, PRESENT, &records[..1]);
    let others = router.route(&message("a"), Some(&alice));
    assert!(others.iter().all(|routed| *routed.key != alice), "with nothing else it hears nothing");
}

#[test]
fn retain_comes_through_where_it_is_asked_for() {
    for (asked, published) in [(false, false), (false, true), (true, false), (true, true)] {
        for filter in ["jobs/a", SHARED] {
            let record = SubscriptionRecord { retain_as_published: asked, ..to(filter) };
            let mut router = router(&[("alice", PRESENT, &[record])]);
            let routed = router.route(&OrdinaryMessage { retain: published, ..message("jobs/a") }, None);
            assert_eq!(routed[0].manner.retain, asked && published);
        }
    }
}

#[test]
fn a_session_that_is_away_hears_what_can_wait_for_it() {
    let sessions: [(&str, Subscriber, &[SubscriptionRecord]); 4] = [
        ("alice", PRESENT, &[to("a")]),
        ("bob", PASSING, &[to("a")]),
        ("carol", AWAY, &[to("a")]),
        ("dave", LOST, &[to("a")]),
    ];
    let mut router = router(&sessions);
    let at = |qos| OrdinaryMessage { qos, ..message("a") };
    assert_eq!(hearers(&mut router, &at(Qos::AtMostOnce)), ["alice", "bob"]);
    assert_eq!(hearers(&mut router, &at(Qos::AtLeastOnce)), ["alice", "bob", "carol"]);
    assert_eq!(hearers(&mut router, &at(Qos::ExactlyOnce)), ["alice", "bob", "carol"]);
}

#[test]
fn nobody_hears_what_no_rule_lets_them_hear() {
    let all = [to("#"), to("closed/a"), to("$SYS/#"), to("$share/g/closed/#")];
    let mut router = router(&[("alice", PRESENT, &all)]);
    assert!(hearers(&mut router, &message("closed/a")).is_empty());
    assert!(hearers(&mut router, &message("$SYS/broker/uptime")).is_empty());
    assert_eq!(hearers(&mut router, &message("open")), ["alice"]);
    let closed = Share { group: "g".to_owned(), filter: "closed/#".to_owned() };
    assert_eq!(router.route_again(&closed, &message("closed/a"), &key("bob")), None);
    assert_eq!(router.meet_retained(&key("alice"), "closed/a", &message("closed/a")), None);
}

#[test]
fn subscriptions_under_tx_and_party_are_passed_over() {
    let reserved = [to("tx/#"), to("tx/+/manifest"), to("party/+/inbox"), to("$share/g/tx/#"), to("a")];
    let mut router = router(&[("alice", PRESENT, &reserved)]);
    assert_eq!(router.subscriptions(), 1);
    assert_eq!(hearers(&mut router, &message("a")), ["alice"]);
}

#[test]
fn the_members_of_a_share_have_their_turns_from_the_first_again() {
    let shared: &[_] = &[to(SHARED)];
    let mut router = router(&[("alice", PRESENT, shared), ("bob", PASSING, shared), ("carol", PRESENT, shared)]);
    assert_eq!(turns(&mut router, 7), ["alice", "bob", "carol", "alice", "bob", "carol", "alice"]);
}

#[test]
fn each_share_has_a_turn_of_its_own_beside_own_subscriptions() {
    let records = [to("jobs/a"), to(SHARED), to("$share/others/jobs/#"), to("$share/workers/jobs/+")];
    let mut router = router(&[("alice", PRESENT, &records), ("bob", PRESENT, &records[1..2])]);
    assert_eq!(router.subscriptions(), 5);
    for member_of_workers in ["alice", "bob", "alice"] {
        let routed = router.route(&message("jobs/a"), None);
        let mut heard: Vec<_> = routed.into_iter().map(|it| (it.manner.share, it.key.party.to_string())).collect();
        heard.sort();
        let of = |group: &str, filter: &str| Some(Share { group: group.to_owned(), filter: filter.to_owned() });
        let expected = [
            (None, "alice"),
            (of("others", "jobs/#"), "alice"),
            (of("workers", "jobs/#"), member_of_workers),
            (of("workers", "jobs/+"), "alice"),
        ];
        assert_eq!(heard, expected.map(|(share, name)| (share, name.to_owned())));
    }
}

#[test]
fn members_that_are_there_come_before_those_that_come_back() {
    let shared: &[_] = &[to(SHARED)];
    let sessions: [(&str, Subscriber, &[SubscriptionRecord]); 4] =
        [("alice", AWAY, shared), ("bob", PRESENT, shared), ("carol", LOST, shared), ("dave", PRESENT, shared)];
    let mut router = router(&sessions);
    assert_eq!(turns(&mut router, 4), ["bob", "dave", "bob", "dave"]);
    router.put(&key("bob"), AWAY, shared);
    router.put(&key("dave"), AWAY, shared);
    assert_eq!(turns(&mut router, 4), ["alice", "bob", "dave", "alice"], "carol's session is over");
    let at_qos_0 = OrdinaryMessage { qos: Qos::AtMostOnce, ..message("jobs/a") };
    assert!(hearers(&mut router, &at_qos_0).is_empty(), "nobody would wait for it");
    router.put(&key("alice"), PRESENT, shared);
    assert_eq!(hearers(&mut router, &at_qos_0), ["alice"]);
}

#[test]
fn the_turn_goes_on_when_a_member_leaves_or_comes() {
    let shared: &[_] = &[to(SHARED)];
    let mut router = router(&[("alice", PRESENT, shared), ("bob", PRESENT, shared), ("carol", PRESENT, shared)]);
    assert_eq!(turns(&mut router, 2), ["alice", "bob"]);
    router.remove(&key("bob"));
    assert_eq!(turns(&mut router, 2), ["carol", "alice"]);
    router.put(&key("bob"), PRESENT, shared);
    assert_eq!(turns(&mut router, 4), ["carol", "bob", "alice", "carol"], "whoever comes is the last");
    router.put(&key("bob"), PRESENT, &[to("elsewhere")]);
    assert_eq!(turns(&mut router, 3), ["alice", "carol", "alice"], "bob has unsubscribed");
}

#[test]
fn a_member_that_changes_something_else_keeps_its_turn() {
    let mut router = router(&[("alice", PRESENT, &[to(SHARED), to("a")]), ("bob", PRESENT, &[to(SHARED)])]);
    router.remove(&key("bob"));
    assert_eq!(turns(&mut router, 1), ["alice"]);
    router.put(&key("alice"), PRESENT, &[SubscriptionRecord { qos: 1, ..to(SHARED) }, to("b")]);
    router.put(&key("bob"), PRESENT, &[to(SHARED)]);
    assert_eq!(turns(&mut router, 3), ["bob", "alice", "bob"], "alice had the last one");
}

#[test]
fn a_message_is_not_routed_again_to_the_member_that_left() {
    let shared: &[_] = &[SubscriptionRecord { qos: 1, identifier: Some(4), ..to(SHARED) }];
    let mut router = router(&[("alice", PRESENT, shared), ("bob", PRESENT, shared)]);
    for _ in 0..3 {
        let routed = router.route_again(&share(), &message("jobs/a"), &key("alice")).expect("bob is there");
        let manner = Manner { qos: Qos::AtLeastOnce, retain: false, identifiers: vec![4], share: Some(share()) };
        assert_eq!(routed, Routed { key: key("bob").into(), subscriber: PRESENT, manner });
    }
    router.remove(&key("bob"));
    assert_eq!(router.route_again(&share(), &message("jobs/a"), &key("alice")), None);
    router.put(&key("carol"), AWAY, shared);
    let routed = router.route_again(&share(), &message("jobs/a"), &key("alice")).expect("carol comes back");
    assert_eq!(*routed.key, key("carol"));
    router.remove(&key("alice"));
    router.remove(&key("carol"));
    assert_eq!(router.route_again(&share(), &message("jobs/a"), &key("alice")), None, "a share that is no more");
}

#[test]
fn a_session_that_is_put_again_is_known_as_it_was_put_last() {
    let mut router = router(&[("alice", PRESENT, &[to("a"), to(SHARED)])]);
    router.put(&key("alice"), AWAY, &[to("a"), to(SHARED)]);
    assert_eq!((router.subscriptions(), router.subscriber(&key("alice"))), (2, Some(AWAY)));
    let changed = [SubscriptionRecord { qos: 1, ..to("a") }, to("b")];
    router.put(&key("alice"), PRESENT, &changed);
    assert_eq!((router.subscriptions(), router.subscriber(&key("alice"))), (2, Some(PRESENT)));
    assert_eq!(router.route(&message("a"), None)[0].manner.qos, Qos::AtLeastOnce);
    assert_eq!(hearers(&mut router, &message("b")), ["alice"]);
    assert!(hearers(&mut router, &message("jobs/a")).is_empty());
    router.put(&key("alice"), PRESENT, &[]);
    assert_holds_nothing(&router);
    assert_eq!(router.subscriber(&key("alice")), Some(PRESENT), "it is still a session");
}

#[test]
fn a_session_that_is_removed_leaves_nothing_behind() {
    let records = [to("a"), to("a/#"), to("+/b"), to(SHARED), to("$share/g/#"), to("tx/#")];
    let mut router = router(&[("alice", PRESENT, &records), ("bob", AWAY, &records)]);
    assert_eq!(router.subscriptions(), 10);
    router.remove(&key("alice"));
    router.remove(&key("alice"));
    assert_eq!(router.subscriptions(), 5);
    assert!(hearers(&mut router, &message("a")).iter().all(|name| name == "bob"));
    router.remove(&key("bob"));
    assert_holds_nothing(&router);
    assert!(router.numbers.is_empty() && router.sessions.is_empty());
}

#[test]
fn a_new_subscription_meets_what_is_retained_by_its_own_filter() {
    let records = [
        SubscriptionRecord { qos: 1, identifier: Some(5), ..to("a/#") },
        SubscriptionRecord { qos: 2, identifier: Some(6), ..to("#") },
        to("$share/g/a/#"),
    ];
    let router = router(&[("alice", AWAY, &records)]);
    let alice = key("alice");
    let manner = |qos, identifier| Some(Manner { qos, retain: true, identifiers: vec![identifier], share: None });
    assert_eq!(router.meet_retained(&alice, "a/#", &message("a")), manner(Qos::AtLeastOnce, 5));
    assert_eq!(router.meet_retained(&alice, "#", &message("a/b")), manner(Qos::ExactlyOnce, 6));
    let at_qos_0 = OrdinaryMessage { qos: Qos::AtMostOnce, ..message("a/b") };
    assert_eq!(router.meet_retained(&alice, "a/#", &at_qos_0), manner(Qos::AtMostOnce, 5));
    for (filter, topic) in [("a/#", "b"), ("a/+", "a/b"), ("$share/g/a/#", "a/b"), ("#", "$other")] {
        assert_eq!(router.meet_retained(&alice, filter, &message(topic)), None, "{filter} {topic}");
    }
    assert_eq!(router.meet_retained(&key("bob"), "#", &message("a")), None);
}
