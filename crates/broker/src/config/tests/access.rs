//! `[[acl.rule]]`: what is written is what is allowed, and what is wrong with a rule is told.

use quorate_domain::PartyId;

use super::*;

fn party(name: &str) -> PartyId {
    PartyId::new(name).expect("a party")
}

#[test]
fn without_a_rule_ordinary_topics_are_closed() {
    for text in [SHIPPED, LEAST] {
        let access = parse(text).expect("accepted").access;
        for name in ["alice", "operator"] {
            assert!(!access.may_publish(&party(name), "a") && !access.may_hear(&party(name), "a"));
            assert!(!access.may_subscribe(&party(name), "#"));
        }
    }
}

#[test]
fn the_admins_of_the_api_hear_what_the_broker_tells_about_itself() {
    let topic = "$SYS/broker/uptime";
    let shipped = parse(SHIPPED).expect("accepted").access;
    assert!(shipped.may_hear(&party("operator"), topic) && !shipped.may_hear(&party("alice"), topic));
    let without_api = parse(LEAST).expect("accepted").access;
    assert!(!without_api.may_hear(&party("operator"), topic));
}

#[test]
fn the_example_of_the_shipped_file_does_what_it_says() {
    let example: Vec<&str> = SHIPPED
        .lines()
        .skip_while(|line| *line != "# [[acl.rule]]")
        .take_while(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim_start())
        .collect();
    let access = parse(&format!("{SHIPPED}\n{}", example.join("\n"))).expect("accepted").access;
    let (alice, press) = (party("alice"), party("press-1"));
    assert!(access.may_hear(&alice, "news/today") && !access.may_publish(&alice, "news/today"));
    assert!(access.may_hear(&press, "news/today") && access.may_publish(&press, "news/today"));
    assert!(access.may_hear(&alice, "home/alice/lamp") && access.may_publish(&alice, "home/alice/lamp"));
    assert!(!access.may_hear(&press, "home/alice/lamp") && !access.may_publish(&press, "home/alice/lamp"));
}

#[test]
fn rules_decide_in_their_order() {
    let rules = r#"
[[acl.rule]]
permission = "deny"
action = "publish"
topics = ["a/#"]
parties = ["bob", "c*"]
[[acl.rule]]
permission = "allow"
topics = ["+/x", "a/y"]
parties = ["*"]
"#;
    let access = parse(&format!("{LEAST}{rules}")).expect("accepted").access;
    for name in ["bob", "carol"] {
        assert!(!access.may_publish(&party(name), "a/x") && access.may_hear(&party(name), "a/x"), "{name}");
        assert!(access.may_publish(&party(name), "b/x"), "{name}");
    }
    assert!(access.may_publish(&party("alice"), "a/x") && access.may_publish(&party("alice"), "a/y"));
    assert!(!access.may_publish(&party("alice"), "b/y"));
}

#[test]
fn all_that_is_wrong_with_the_rules_is_told_at_once() {
    let rules = r#"[[acl.rule]]
permission = "permit"
action = "listen"
topics = ["a/#/b", "tx/#", "ok/+", "a/%c"]
parties = ["not a party"]
topic = "a"
[[acl.rule]]
topics = []
[[acl.rule]]
permission = "allow"
topics = "a"
parties = []
[[acl.rules]]
"#;
    let at = LEAST.lines().count();
    let line = |number: usize, rest: &str| format!("line {}: acl.{rest}", at + number);
    let found = problems(&format!("{LEAST}{rules}"));
    let expected = [
        line(2, "rule[0].permission: \"permit\" is not one of \"allow\", \"deny\""),
        line(3, "rule[0].action: \"listen\" is not one of \"both\", \"publish\", \"subscribe\""),
        line(6, "rule[0].topic: unknown key"),
        line(7, "rule[1].permission: missing"),
        line(7, "rule[1].parties: missing"),
        line(8, "rule[1].topics: at least one is needed"),
        line(11, "rule[2].topics: invalid type: string \"a\", expected a sequence"),
        line(12, "rule[2].parties: at least one is needed"),
        line(13, "rules: unknown key"),
    ];
    for problem in &expected {
        assert!(found.contains(problem), "{problem:?} is in {found:#?}");
    }
    let begins = |start: String| found.iter().any(|problem| problem.starts_with(&start));
    assert!(begins(line(4, "rule[0].topics: \"a/#/b\": level 2: ")), "{found:#?}");
    assert!(begins(line(4, "rule[0].topics: \"tx/#\": no rule decides ")), "{found:#?}");
    assert!(begins(line(4, "rule[0].topics: \"a/%c\": level 2: ")), "{found:#?}");
    assert!(begins(line(5, "rule[0].parties: \"not a party\": ")), "{found:#?}");
    assert_eq!(found.len(), expected.len() + 4, "{found:#?}");
}
