//! `quorate certs show`: what certificate files say, for a person or as JSON. Nothing is verified.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use quorate_domain::UnixMs;
use quorate_identity::authority::{CertificateSummary, describe, rfc3339};
use serde_json::json;

const DAY_MS: u64 = 86_400_000;

/// Which files, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// PEM files with certificates.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a certificate and line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let now = now();
    for file in &args.files {
        let pem = std::fs::read(file).with_context(|| file.display().to_string())?;
        let summaries = describe(&pem).with_context(|| file.display().to_string())?;
        for (index, summary) in summaries.iter().enumerate() {
            if args.json {
                println!("{}", as_json(file, summary, now));
            } else {
                let place = place(file, index, summaries.len());
                println!("{place}\n{}", as_text(summary, now));
            }
        }
    }
    Ok(())
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn place(file: &Path, index: usize, count: usize) -> String {
    if count == 1 { file.display().to_string() } else { format!("{} ({} of {count})", file.display(), index + 1) }
}

fn as_json(file: &Path, summary: &CertificateSummary, now: UnixMs) -> serde_json::Value {
    json!({
        "file": file,
        "subject": summary.subject,
        "common_names": summary.common_names,
        "party": summary.party.as_ref().ok(),
        "party_problem": summary.party.as_ref().err(),
        "issuer": summary.issuer,
        "not_before": rfc3339(summary.not_before),
        "not_after": rfc3339(summary.not_after),
        "days_left": days_left(summary.not_after, now),
        "fingerprint": summary.fingerprint,
        "authority": summary.is_authority,
        "usages": summary.usages,
        "names": summary.names,
        "key": summary.key_algorithm,
    })
}

fn as_text(summary: &CertificateSummary, now: UnixMs) -> String {
    let lines = [
        ("subject", summary.subject.clone()),
        ("party", party(summary)),
        ("issuer", summary.issuer.clone()),
        ("valid", validity(summary, now)),
        ("fingerprint", summary.fingerprint.to_string()),
        ("usages", listed(&summary.usages, unrestricted(summary))),
        ("names", listed(&summary.names, "none")),
        ("key", summary.key_algorithm.clone()),
    ];
    lines.iter().map(|(label, value)| format!("  {label:<12} {value}\n")).collect()
}

fn party(summary: &CertificateSummary) -> String {
    match &summary.party {
        _ if summary.is_authority => "none: this is an authority".to_owned(),
        Ok(party) => party.to_string(),
        Err(problem) => format!("none: {problem}"),
    }
}

fn validity(summary: &CertificateSummary, now: UnixMs) -> String {
    let remark = if now < summary.not_before {
        "not valid yet".to_owned()
    } else {
        match days_left(summary.not_after, now) {
            days if now > summary.not_after => format!("EXPIRED {} days ago", -days),
            days => format!("{days} days left"),
        }
    };
    format!("{} to {} ({remark})", rfc3339(summary.not_before), rfc3339(summary.not_after))
}

/// Whole days until then; negative once it has passed.
fn days_left(not_after: UnixMs, now: UnixMs) -> i64 {
    let days = |from: u64, to: u64| i64::try_from((to - from) / DAY_MS).unwrap_or(i64::MAX);
    if not_after >= now { days(now.0, not_after.0) } else { -days(not_after.0, now.0) }
}

fn unrestricted(summary: &CertificateSummary) -> &'static str {
    if summary.is_authority { "signing certificates" } else { "not restricted" }
}

fn listed(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, UnixMs, as_json, as_text, days_left, describe, now};
    use quorate_identity::authority::Authority;
    use std::path::Path;

    #[test]
    fn days_are_counted_whole_and_go_below_zero() {
        let at = UnixMs(100 * DAY_MS);
        assert_eq!(days_left(UnixMs(103 * DAY_MS - 1), at), 2);
        assert_eq!(days_left(at, at), 0);
        assert_eq!(days_left(UnixMs(97 * DAY_MS), at), -3);
    }

    #[test]
    fn a_certificate_is_told_with_party_days_and_fingerprint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::create(folder.path()).expect("an authority");
        let issued = authority.issue_party("alice", 10).expect("issued");
        let summary = describe(issued.certificate_pem.as_bytes()).expect("described").remove(0);
        let text = as_text(&summary, now());
        for part in ["CN=alice", "party        alice", "9 days left", "sha256:", "clientAuth"] {
            assert!(text.contains(part), "{part:?} is in\n{text}");
        }
        let json = as_json(Path::new("alice.pem"), &summary, now());
        assert_eq!(json["party"], "alice");
        assert_eq!(json["fingerprint"], summary.fingerprint.to_string());
        let late = as_text(&summary, UnixMs(summary.not_after.0 + 5 * DAY_MS));
        assert!(late.contains("EXPIRED 5 days ago"), "{late}");
    }
}
