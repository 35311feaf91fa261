//! The story of the demo, step by step. Nothing here knows a secret: the parties' processes do.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, ensure};
use quorate_domain::{Sha256, TxId};
use quorate_identity::authority::Outcome;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    DemoArgs,
    ceremony::{KEYGEN, Milestone, SIGNING},
    report::Report,
    stage::{Stage, VisitPlan},
    verify::verify,
};
use crate::table::{cell, time};

/// What is signed in the end.
const PAYMENT: &[u8] = b"pay 125.00 EUR to dave, invoice 2026-117";

pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(args.json);
    let mut stage = match Stage::prepare(&args) {
        Ok(stage) => stage,
        Err(error) => {
            report.failed(&error, None);
            return Ok(ExitCode::FAILURE);
        }
    };
    // On a signal the stage is dropped like on any failure, and with it every process that was started.
    let outcome = tokio::select! {
        outcome = play(&mut stage, &mut report) => outcome,
        outcome = interrupted() => outcome,
    };
    if let Err(error) = outcome {
        let log = stage.log();
        report.failed(&error, log.as_ref().map(|(path, tail)| (path.as_path(), tail.clone())));
        return Ok(ExitCode::FAILURE);
    }
    report.valid();
    Ok(ExitCode::SUCCESS)
}

async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    anyhow::bail!("interrupted")
}

async fn play(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    open_the_house(stage, report).await?;
    let (key_tx, key) = make_key(stage, report).await?;
    let signature = sign(stage, report, &key_tx).await?;
    presence(stage, report, &[]).await?;
    close_the_house(stage, report).await?;

    report.doing("ed25519-dalek checks the signature");
    verify(&key, PAYMENT, &signature)?;
    let facts = json!({ "key": hex::encode(&key), "message": String::from_utf8_lossy(PAYMENT),
        "signature": hex::encode(&signature), "altered_messages_refused": PAYMENT.len() });
    report.step("verify", "ed25519-dalek: valid for the payment, invalid once any byte of it is changed", facts);
    Ok(())
}

async fn open_the_house(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    let made: Vec<&str> = stage
        .certificates
        .iter()
        .filter(|entry| entry.outcome != Outcome::Kept)
        .map(|entry| entry.name.as_str())
        .collect();
    let sentence = match made.is_empty() {
        true => "all there".to_owned(),
        false => format!("made for {}", made.join(", ")),
    };
    report.step("certificates", &sentence, json!({ "made": made }));
    if stage.is_kept() {
        let folder = stage.folder().display().to_string();
        report.step("folder", &folder, json!({ "folder": folder }));
    }
    report.doing("the broker starts");
    let broker = stage.start_broker().await?;
    let sentence = format!("running: MQTT on {}, API on {}", broker.address, broker.api);
    report.step("broker", &sentence, json!({ "pid": broker.pid(), "mqtt": broker.address, "api": broker.api }));
    presence(stage, report, &[]).await
}

async fn close_the_house(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.doing("the broker drains");
    let status = stage.broker.as_mut().context("there is no broker")?.stop().await?;
    ensure!(status.success(), "the broker ended with {status} after SIGTERM");
    report.step("broker", "stopped with SIGTERM: drained, exit 0", json!({ "exit": status.code() }));
    Ok(())
}

/// Alice and bob come and go, the broker dies, carol comes for the first time, and never meets them.
async fn make_key(stage: &mut Stage, report: &mut Report) -> anyhow::Result<(TxId, Vec<u8>)> {
    let (tx, manifest) = write_manifest(stage, "key-generation", |tx| {
        json!({ "tx": tx, "initiator": "alice", "protocol": KEYGEN, "parties": ["alice", "bob", "carol"],
            "threshold": 2, "purpose": "the demo's wallet" })
    })?;
    let plan = |party, until| VisitPlan { party, tx: &tx, until, create: None, approve: None };

    report.doing("alice creates the key generation");
    let create = VisitPlan { create: Some(&manifest), ..plan("alice", Milestone::Round1) };
    let alice = stage.visit(&create).await?;
    let sentence = format!("alice created {tx} (alice, bob, carol; any 2 can sign), joined, published round 1");
    report.step("key", &sentence, json!({ "tx": tx }));
    presence(stage, report, &["alice"]).await?;
    alice.leave().await?;

    report.doing("bob joins");
    let bob = stage.visit_and_leave(&plan("bob", Milestone::Round1)).await?;
    report.step("key", &heard(&bob, "bob", "joined, published round 1, and went"), bob);
    refused(stage, report, "mallory", &tx).await?;
    state(stage, report, &tx, "open").await?;

    report.doing("the broker is killed and started again");
    let (before, after) = stage.kill_and_restart_broker().await?;
    let facts = json!({ "killed": before, "started": after });
    report.step("broker", "killed with SIGKILL, and started again on the same store", facts);

    report.doing("carol connects for the first time");
    let carol = stage.visit(&plan("carol", Milestone::Round2)).await?;
    let sentence = "joined, published round 1 and her sealed round-2 packages";
    report.step("key", &heard(&carol.done, "carol, here for the first time,", sentence), carol.done.clone());
    presence(stage, report, &["carol"]).await?;
    carol.leave().await?;

    report.doing("alice and bob come back");
    let (alice_plan, bob_plan) = (plan("alice", Milestone::Result), plan("bob", Milestone::Result));
    let (alice, bob) = tokio::try_join!(stage.visit(&alice_plan), stage.visit(&bob_plan))?;
    for (party, visiting) in [("alice", &alice), ("bob", &bob)] {
        let sentence = "sent sealed round-2 packages, published the result";
        report.step("key", &heard(&visiting.done, party, sentence), visiting.done.clone());
    }
    presence(stage, report, &["alice", "bob"]).await?;
    let (alice, bob) = tokio::try_join!(alice.leave(), bob.leave())?;

    report.doing("carol comes back");
    let carol = stage.visit_and_leave(&plan("carol", Milestone::Completed)).await?;
    report.step("key", &heard(&carol, "carol", "published the result"), carol.clone());
    state(stage, report, &tx, "completed").await?;

    let results = [&alice, &bob, &carol].map(|done| (&done["result"], &done["key"]));
    ensure!(results.iter().all(|result| *result == results[0]), "the parties have different keys");
    let key = bytes(&carol, "key")?;
    let facts = json!({ "key": carol["key"], "public_key_package": carol["result"] });
    report.step("key", &format!("all three hold a share of {}", hex::encode(&key)), facts);
    Ok((tx, key))
}

/// Alice and carol sign; bob has a share and is not asked.
async fn sign(stage: &mut Stage, report: &mut Report, key_tx: &TxId) -> anyhow::Result<Vec<u8>> {
    let digest = Sha256::of(PAYMENT);
    let payload = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, PAYMENT);
    let (tx, manifest) = write_manifest(stage, "signing", |tx| {
        json!({ "tx": tx, "initiator": "alice", "protocol": SIGNING, "parties": ["alice", "carol"], "threshold": 2,
            "key_id": key_tx, "payload": payload, "payload_digest": digest, "purpose": "invoice 2026-117" })
    })?;
    let plan = |party, until| VisitPlan { party, tx: &tx, until, create: None, approve: Some(digest) };

    report.doing("alice creates the signing");
    let create = VisitPlan { create: Some(&manifest), ..plan("alice", Milestone::Round1) };
    let alice = stage.visit_and_leave(&create).await?;
    let sentence = format!("alice created {tx} (alice, carol) to sign \"{}\"", String::from_utf8_lossy(PAYMENT));
    report.step("sign", &sentence, json!({ "tx": tx, "key_id": key_tx, "visit": alice }));
    refused(stage, report, "bob", &tx).await?;
    refused(stage, report, "mallory", &tx).await?;

    report.doing("carol commits and signs");
    let carol = stage.visit_and_leave(&plan("carol", Milestone::Round2)).await?;
    report.step("sign", &heard(&carol, "carol", "joined, committed, deleted her nonces, sent her share"), carol);
    report.doing("alice signs");
    let alice = stage.visit_and_leave(&plan("alice", Milestone::Result)).await?;
    let sentence = "deleted her nonces, sent her share, published the signature";
    report.step("sign", &heard(&alice, "alice", sentence), alice.clone());
    report.doing("carol adds the shares up");
    let carol = stage.visit_and_leave(&plan("carol", Milestone::Completed)).await?;
    report.step("sign", &heard(&carol, "carol", "published the same signature"), carol.clone());
    state(stage, report, &tx, "completed").await?;
    ensure!(alice["result"] == carol["result"], "alice and carol have different signatures");
    bytes(&alice, "result")
}

/// The manifest stands in a file: every attempt to create publishes the same bytes.
fn write_manifest(stage: &Stage, name: &str, manifest: impl Fn(&TxId) -> Value) -> anyhow::Result<(TxId, PathBuf)> {
    let tx = TxId::new(&ulid::Ulid::new().to_string())?;
    let path = stage.folder().join(format!("{name}.manifest.json"));
    std::fs::write(&path, manifest(&tx).to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((tx, path))
}

/// Asks who is present, as the operator, and prints it.
async fn presence(stage: &Stage, report: &mut Report, expected: &[&str]) -> anyhow::Result<()> {
    report.doing("operator asks who is present");
    let parties = stage.presence(expected).await?;
    let words: Vec<String> = parties.iter().map(presence_words).collect();
    report.step("present", &words.join(" · "), json!({ "parties": parties }));
    Ok(())
}

fn presence_words(party: &Value) -> String {
    let name = cell(&party["party"]);
    match (&party["online"], &party["last_seen"]) {
        (Value::Bool(true), _) => format!("{name} present"),
        (_, Value::Null) => format!("{name} never seen"),
        (_, last_seen) => format!("{name} away, last seen {}", time(last_seen)),
    }
}

async fn refused(stage: &Stage, report: &mut Report, party: &str, tx: &TxId) -> anyhow::Result<()> {
    report.doing(&format!("{party} tries to get in"));
    let doors = stage.intrude(party, tx).await?;
    ensure!(doors > 0, "{party} did not try anything");
    let sentence = format!("{party} may not subscribe, publish or ask the API about {tx} ({doors} attempts)");
    report.step("refused", &sentence, json!({ "party": party, "tx": tx, "attempts": doors }));
    Ok(())
}

async fn state(stage: &Stage, report: &mut Report, tx: &TxId, expected: &str) -> anyhow::Result<()> {
    let shown = stage.transaction(tx).await?;
    let state = &shown["state"];
    ensure!(state["state"] == expected, "{tx} is {}, though it should be {expected}", cell(&state["state"]));
    let mut sentence = format!("{tx} is {expected}");
    if state["waiting_for"].as_array().is_some_and(|waiting| !waiting.is_empty()) {
        sentence.push_str(&format!(", waiting for {}", cell(&state["waiting_for"])));
    }
    report.step("state", &sentence, state.clone());
    Ok(())
}

fn heard(done: &Value, who: &str, then: &str) -> String {
    let count = if done["heard"] == 1 { "1 message".to_owned() } else { format!("{} messages", done["heard"]) };
    format!("{who} heard {count}, {then}")
}

fn bytes(done: &Value, name: &str) -> anyhow::Result<Vec<u8>> {
    let text = done[name].as_str().with_context(|| format!("a party has no {name}"))?;
    hex::decode(text).with_context(|| format!("{name} is not hexadecimal"))
}
