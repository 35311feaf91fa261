//! The files of a certificates folder, and what they say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{
    Authority, AuthorityError, Existing, FolderPlan, LEAF_DAYS_DEFAULT, Outcome, describe, fill_folder, rfc3339,
};

fn plan(parties: &[&str], existing: Existing) -> FolderPlan {
    FolderPlan {
        servers: vec![("broker".to_owned(), super::SERVER_NAMES_DEFAULT.map(str::to_owned).into())],
        parties: parties.iter().map(|&name| name.to_owned()).collect(),
        days: LEAF_DAYS_DEFAULT,
        existing,
    }
}

fn outcomes(dir: &Path, plan: &FolderPlan) -> Vec<(String, Outcome)> {
    let entries = fill_folder(dir, plan).expect("filled");
    entries.into_iter().map(|entry| (entry.name, entry.outcome)).collect()
}

fn read_all(dir: &Path, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| fs::read_to_string(dir.join(name)).expect("a file")).collect()
}

#[test]
fn a_second_run_keeps_everything_and_makes_what_is_missing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("certs");
    let first = outcomes(&dir, &plan(&["alice"], Existing::Keep));
    assert!(first.iter().all(|(_, outcome)| *outcome == Outcome::Created), "{first:?}");
    let files = ["ca.pem", "ca.key.pem", "broker.pem", "alice.pem", "alice.key.pem"];
    let before = read_all(&dir, &files);

    let second = outcomes(&dir, &plan(&["alice", "bob"], Existing::Keep));
    let expected =
        [("ca", Outcome::Kept), ("broker", Outcome::Kept), ("alice", Outcome::Kept), ("bob", Outcome::Created)];
    assert_eq!(second, expected.map(|(name, outcome)| (name.to_owned(), outcome)));
    assert_eq!(before, read_all(&dir, &files));
}

#[test]
fn renewing_replaces_leafs_and_never_the_authority() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    outcomes(folder.path(), &plan(&["alice"], Existing::Keep));
    let before = read_all(folder.path(), &["ca.pem", "ca.key.pem", "alice.pem", "alice.key.pem"]);
    let renewed = outcomes(folder.path(), &plan(&["alice"], Existing::Renew));
    assert_eq!(renewed[0], ("ca".to_owned(), Outcome::Kept));
    assert_eq!(renewed[2], ("alice".to_owned(), Outcome::Renewed));
    let after = read_all(folder.path(), &["ca.pem", "ca.key.pem", "alice.pem", "alice.key.pem"]);
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    assert_ne!(before[3], after[3]);
}

#[test]
fn keys_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for existing in [Existing::Keep, Existing::Renew] {
        outcomes(folder.path(), &plan(&["alice"], existing));
        for name in ["ca", "broker", "alice"] {
            let key = folder.path().join(format!("{name}.key.pem"));
            let mode = fs::metadata(key).expect("a key").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::create(folder.path()).expect("an authority");
    assert!(matches!(Authority::create(folder.path()), Err(AuthorityError::Exists(_))));
    let alice = authority.issue_party("alice", LEAF_DAYS_DEFAULT).expect("issued");
    alice.write(folder.path(), "alice").expect("written");
    assert!(matches!(alice.write(folder.path(), "alice"), Err(AuthorityError::Exists(_))));
}

#[test]
fn half_a_pair_is_told_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    outcomes(folder.path(), &plan(&["alice"], Existing::Keep));
    fs::remove_file(folder.path().join("alice.key.pem")).expect("removed");
    let error = fill_folder(folder.path(), &plan(&["alice"], Existing::Keep)).expect_err("half");
    assert!(error.to_string().contains("alice.key.pem"), "{error}");
    assert!(folder.path().join("alice.pem").exists());
    outcomes(folder.path(), &plan(&["alice"], Existing::Renew));
    assert!(folder.path().join("alice.key.pem").exists());
}

#[test]
fn an_authority_opens_only_with_its_own_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = Authority::open(folder.path()).expect_err("nothing there");
    assert!(missing.to_string().contains("certs init"), "{missing}");
    let made = Authority::create(folder.path()).expect("an authority");
    let opened = Authority::open(folder.path()).expect("opened");
    assert_eq!(made.certificate_pem(), opened.certificate_pem());

    let other = tempfile::tempdir().expect("a temporary folder");
    Authority::create(other.path()).expect("another authority");
    fs::copy(other.path().join("ca.key.pem"), folder.path().join("ca.key.pem")).expect("copied");
    assert!(matches!(Authority::open(folder.path()), Err(AuthorityError::Unusable { .. })));
}

#[test]
fn names_that_cannot_be_certified_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::create(folder.path()).expect("an authority");
    for bad in ["", "../alice", "a b", "-x"] {
        let error = authority.issue_party(bad, 1).expect_err(bad);
        assert!(matches!(error, AuthorityError::Name { .. }), "{error:?}");
    }
    for reserved in ["ca", "alice.key"] {
        let error = authority.issue_party(reserved, 1).expect_err(reserved);
        assert!(matches!(error, AuthorityError::ReservedName(_)), "{error:?}");
    }
    assert!(matches!(authority.issue_party("alice", 0), Err(AuthorityError::Days(0))));
    assert!(matches!(authority.issue_party("alice", 3651), Err(AuthorityError::Days(3651))));
    let server = |name: &str| authority.issue_server("broker", &[name.to_owned()], 1);
    assert!(matches!(server("no name"), Err(AuthorityError::ServerName(_))));
    assert!(matches!(authority.issue_server("broker", &[], 1), Err(AuthorityError::NoServerName)));
}

#[test]
fn a_description_says_what_the_certificate_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    outcomes(folder.path(), &plan(&["alice"], Existing::Keep));
    let of = |name: &str| {
        let pem = fs::read(folder.path().join(format!("{name}.pem"))).expect("a file");
        describe(&pem).expect("described").remove(0)
    };
    let (ca, broker, alice) = (of("ca"), of("broker"), of("alice"));
    assert!(ca.is_authority && !alice.is_authority);
    assert_eq!(alice.common_names, ["alice"]);
    assert_eq!(alice.party.as_ref().map(|party| party.as_str()), Ok("alice"));
    assert_eq!(alice.issuer, ca.subject);
    assert_eq!(alice.usages, ["clientAuth"]);
    assert_eq!(alice.key_algorithm, "ECDSA P-256");
    assert_eq!(broker.usages, ["serverAuth"]);
    assert_eq!(broker.names, super::SERVER_NAMES_DEFAULT);
    let days = (alice.not_after.0 - alice.not_before.0) / 86_400_000;
    assert_eq!(days, u64::from(LEAF_DAYS_DEFAULT));
    assert!(ca.party.is_err(), "an authority's CN is no party id");
}

#[test]
fn a_file_without_a_certificate_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    outcomes(folder.path(), &plan(&[], Existing::Keep));
    let key = fs::read(folder.path().join("broker.key.pem")).expect("a file");
    let error = describe(&key).expect_err("a key is not a certificate");
    assert_eq!(error.to_string(), "no certificate in it");
    assert!(describe(b"").is_err());
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(describe(broken).is_err());
}

#[test]
fn moments_are_printed_as_rfc3339() {
    assert_eq!(rfc3339(quorate_domain::UnixMs(0)), "1970-01-01T00:00:00Z");
    assert_eq!(rfc3339(quorate_domain::UnixMs(1_767_225_599_999)), "2025-12-31T23:59:59Z");
    assert_eq!(rfc3339(quorate_domain::UnixMs(u64::MAX)), "after the year 9999");
}
