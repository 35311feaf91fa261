//! Where the store is: in the folder that is named, or in one that goes away.

use super::*;

const INTEROP: &str = include_str!("../../../../../tests/interop.toml");

fn with_storage(storage: &str) -> String {
    LEAST.replace("path = \"data\"\n", storage)
}

#[test]
fn a_store_has_a_path_or_is_temporary() {
    let place = |storage: &str| parse(&with_storage(storage)).expect("accepted").storage.place;
    assert_eq!(place("path = \"data\"\n"), StorePlace::Folder("/etc/quorate/data".into()));
    assert_eq!(place("path = \"data\"\ntemporary = false\n"), StorePlace::Folder("/etc/quorate/data".into()));
    assert_eq!(place("temporary = true\n"), StorePlace::Temporary);
}

#[test]
fn a_store_without_a_place_or_with_two_is_refused() {
    for (storage, told) in [
        ("", "line 9: storage.path: missing"),
        ("temporary = false\n", "line 9: storage.path: missing"),
        (
            "path = \"data\"\ntemporary = true\n",
            "line 11: storage.temporary: not beside a path: a temporary store is made in a fresh folder, and deleted",
        ),
        ("temporary = \"yes\"\n", "line 10: storage.temporary: invalid type: string \"yes\", expected a boolean"),
    ] {
        assert_eq!(problems(&with_storage(storage)), [told]);
    }
}

#[test]
fn the_file_for_conformance_suites_opens_every_ordinary_topic_and_keeps_nothing() {
    let config = parse(INTEROP).expect("accepted");
    assert_eq!(config.identities(), Identities::DangerAnonymous);
    assert_eq!(config.listeners.len(), 1);
    let listener = &config.listeners[0];
    assert_eq!((listener.address.to_string().as_str(), &listener.framing), ("127.0.0.1:21999", &Framing::Stream));
    assert_eq!(listener.packet_bytes_max, 268_435_460);
    assert_eq!((config.storage.place, config.storage.durability), (StorePlace::Temporary, Durability::Os));
    assert_eq!(config.api, None);
    let anybody = quorate_domain::PartyId::new("anybody").expect("a party");
    for topic in ["a", "/", "a/b/c"] {
        assert!(config.access.may_publish(&anybody, topic) && config.access.may_hear(&anybody, topic), "{topic}");
    }
    assert!(config.access.may_subscribe(&anybody, "#"));
    assert!(config.access.may_subscribe(&anybody, "$SYS/#") && config.access.may_hear(&anybody, "$SYS/broker/uptime"));
}
