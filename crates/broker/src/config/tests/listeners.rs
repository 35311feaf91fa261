//! The kinds of listeners: what each needs, what is dangerous, and what does not go together.

use super::*;

/// A file whose only listener is `listener`, with `after` behind it.
fn with_listener(listener: &str, after: &str) -> String {
    format!("[[listener]]\nname = \"test\"\n{listener}\n{after}\n[storage]\npath = \"data\"\n")
}

const DANGER: &str = "danger_plaintext = true\ndanger_anonymous = true";
const TLS: &str = "[listener.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"";

#[test]
fn a_listener_that_is_named_dangerous_is_accepted_on_loopback() {
    for (kind, framing) in [("tcp", Framing::Stream), ("ws", Framing::WebSocket { origins: Vec::new() })] {
        for address in ["127.0.0.1:1883", "[::1]:1883"] {
            let text = with_listener(&format!("kind = \"{kind}\"\naddress = \"{address}\"\n{DANGER}"), "");
            let config = parse(&text).expect("accepted");
            assert_eq!(config.listeners[0].framing, framing);
            let Encryption::DangerPlaintext(danger) = &config.listeners[0].encryption else { panic!("not dangerous") };
            assert_eq!(danger.address(), config.listeners[0].address);
            assert_eq!(config.identities(), Identities::DangerAnonymous);
        }
    }
    assert_eq!(parse(SHIPPED).expect("accepted").identities(), Identities::Certificates);
}

#[test]
fn a_listener_without_tls_must_be_named_dangerous_twice() {
    let text = with_listener("kind = \"tcp\"\naddress = \"127.0.0.1:1883\"", "");
    assert_eq!(
        problems(&text),
        [
            "line 3: listener[0].danger_plaintext: a \"tcp\" listener is not encrypted: it needs danger_plaintext = true, \
             and is for tests only",
            "line 3: listener[0].danger_anonymous: a \"tcp\" listener believes every client who it says it is: it needs \
             danger_anonymous = true, and is for tests only",
        ]
    );
    let half = "kind = \"ws\"\naddress = \"127.0.0.1:1883\"\ndanger_plaintext = true\ndanger_anonymous = false";
    let found = problems(&with_listener(half, ""));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("line 6: listener[0].danger_anonymous: "), "{found:#?}");
}

#[test]
fn a_dangerous_listener_that_others_could_reach_is_refused() {
    for address in ["0.0.0.0:1883", "[::]:1883", "192.168.1.7:1883"] {
        let found = problems(&with_listener(&format!("kind = \"tcp\"\naddress = \"{address}\"\n{DANGER}"), ""));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("line 4: listener[0].address: "), "{found:#?}");
        assert!(found[0].contains("loopback"), "{found:#?}");
    }
}

#[test]
fn beside_a_dangerous_listener_nobody_is_proved() {
    let dangerous = format!("kind = \"tcp\"\naddress = \"127.0.0.1:1883\"\n{DANGER}");
    let api = format!("[api]\naddress = \"127.0.0.1:8884\"\n{}", TLS.replace("listener", "api"));
    let found = problems(&with_listener(&dangerous, &api));
    assert_eq!(
        found,
        ["line 7: api: an API beside listener[0], which is dangerous: a broker proves all its parties or none"]
    );
    for kind in ["tls", "wss"] {
        let beside = format!("[[listener]]\nname = \"other\"\nkind = \"{kind}\"\naddress = \"0.0.0.0:8883\"\n{TLS}");
        let found = problems(&with_listener(&dangerous, &beside));
        let told = format!(
            "line 9: listener[1].kind: a \"{kind}\" listener beside listener[0], which is dangerous: a broker proves all \
             its parties or none"
        );
        assert_eq!(found, [told]);
    }
    let beside = format!("[[listener]]\nname = \"other\"\nkind = \"ws\"\naddress = \"127.0.0.1:1884\"\n{DANGER}");
    assert_eq!(parse(&with_listener(&dangerous, &beside)).expect("accepted").listeners.len(), 2);
}

#[test]
fn what_belongs_to_another_kind_of_listener_is_refused() {
    let found =
        problems(&with_listener(&format!("kind = \"tls\"\naddress = \"0.0.0.0:8883\"\norigins = []\n{DANGER}"), TLS));
    let keys = ["line 5: listener[0].origins: ", "line 6: listener[0].danger_p", "line 7: listener[0].danger_a"];
    assert_eq!(found.len(), keys.len(), "{found:#?}");
    assert!(found.iter().zip(keys).all(|(problem, key)| problem.starts_with(key)), "{found:#?}");

    let tcp = format!("kind = \"tcp\"\naddress = \"127.0.0.1:1\"\nhandshake_timeout_ms = 500\n{DANGER}");
    let found = problems(&with_listener(&tcp, TLS));
    let keys = ["line 5: listener[0].handshake_timeout_ms: ", "line 8: listener[0].tls: "];
    assert_eq!(found.len(), keys.len(), "{found:#?}");
    assert!(found.iter().zip(keys).all(|(problem, key)| problem.starts_with(key)), "{found:#?}");
}

#[test]
fn an_origin_that_no_browser_sends_is_refused() {
    let listener =
        "kind = \"wss\"\naddress = \"0.0.0.0:1\"\norigins = [\"https://app.example/\", \"https://ok.example\"]";
    let found = problems(&with_listener(listener, TLS));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("line 5: listener[0].origins: \"https://app.example/\": "), "{found:#?}");
}
