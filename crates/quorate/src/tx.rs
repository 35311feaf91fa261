//! `quorate tx`: transactions over the HTTP API.

use std::{io::Read, path::PathBuf, process::ExitCode};

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::{
    connect::ApiArgs,
    table::{cell, table, time},
};

/// Pages that `list` reads at most; what is beyond them is named by --after.
const PAGES_MAX: usize = 50;

const EXAMPLES: &str = "\
Examples:
  Invite bob and carol to make a key of which any two can sign:
    quorate tx create --as alice --parties alice,bob,carol --threshold 2 --protocol frost/dkg
  See who has joined, who is present and which slots are filled:
    quorate tx show --as alice 01JD3W8QK7V9N2M4X6Z8B0C1D3
  All that are running, as an admin:
    quorate tx list --state running

A transaction is a closed room: only the parties that it lists can speak or listen there (tx/{id}/...), and its party
list never changes. What is said there is read with `quorate sub`.";

/// Create, show, list and close transactions.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a transaction and print its id.
    Create(Box<Create>),
    /// One transaction: its manifest, its state, who is present, which slots are filled.
    Show(Show),
    /// The transactions that you may see: those that list you or that you created; as an admin, all.
    List(List),
    /// End a transaction: as an admin, or as its initiator while it is open.
    Close(Close),
}

/// Create a transaction and print its id.
#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    api: ApiArgs,
    /// Who takes part, in the order that the protocol relies on.
    #[arg(long, value_name = "CN,CN,...", value_delimiter = ',', required_unless_present = "manifest")]
    parties: Vec<String>,
    /// How many signers suffice.
    #[arg(long, value_name = "N", required_unless_present = "manifest")]
    threshold: Option<u16>,
    /// The protocol that the parties mean to run; the broker does not look at it.
    #[arg(long, value_name = "NAME", required_unless_present = "manifest")]
    protocol: Option<String>,
    /// What it is for, for people.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// The key-generation transaction whose key is to be used.
    #[arg(long, value_name = "TX")]
    key_id: Option<String>,
    /// A file with what is to be signed (at most 32 KiB).
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Seconds that it may take once everyone has joined.
    #[arg(long, value_name = "SECONDS")]
    finish_within: Option<u32>,
    /// It runs at once: nobody has to join.
    #[arg(long)]
    no_join: bool,
    /// A file with a manifest (JSON; docs/transactions.md); - is standard input. The options above replace its fields;
    /// `tx` and `initiator` may be left out of it.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// One transaction.
#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    api: ApiArgs,
    /// The transaction's id.
    tx: String,
}

/// The transactions that you may see.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    api: ApiArgs,
    /// Only those in this state: open, running, completed, disputed, aborted, expired.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only those that list this party or that it created.
    #[arg(long, value_name = "CN")]
    party: Option<String>,
    /// Go on after this transaction.
    #[arg(long, value_name = "TX")]
    after: Option<String>,
}

/// End a transaction.
#[derive(Debug, clap::Args)]
struct Close {
    #[command(flatten)]
    api: ApiArgs,
    /// The transaction's id.
    tx: String,
    /// Why, for the parties: it stands in the final state.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create(args) => create(*args).await,
        Command::Show(args) => show(args).await,
        Command::List(args) => list(args).await,
        Command::Close(args) => close(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn create(args: Create) -> anyhow::Result<()> {
    let manifest = args.manifest()?;
    let created = args.api.client()?.create(&manifest).await.context("the transaction was not created")?;
    match args.api.json {
        true => println!("{created}"),
        false => println!("{}", cell(&created["tx"])),
    }
    Ok(())
}

async fn show(args: Show) -> anyhow::Result<()> {
    let shown = args.api.client()?.transaction(&args.tx).await.with_context(|| args.tx.clone())?;
    match args.api.json {
        true => println!("{shown}"),
        false => print!("{}", show_text(&shown)),
    }
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let client = args.api.client()?;
    let mut after = args.after.clone();
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let query: Vec<(&str, &str)> = [("state", &args.state), ("party", &args.party), ("after", &after)]
            .into_iter()
            .filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
            .collect();
        let mut page = client.transactions(&query).await?;
        found.extend(page["transactions"].as_array_mut().map(std::mem::take).unwrap_or_default());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if args.api.json {
        println!("{}", json!({ "transactions": found, "next": after }));
        return Ok(());
    }
    let rows: Vec<[String; 6]> = found.iter().map(summary_row).collect();
    print!("{}", table(["transaction", "state", "protocol", "parties", "created", "purpose"], &rows));
    if let Some(after) = after {
        println!("there are more: --after {after}");
    }
    Ok(())
}

async fn close(args: Close) -> anyhow::Result<()> {
    let state = args.api.client()?.close(&args.tx, &args.reason).await.with_context(|| args.tx.clone())?;
    match args.api.json {
        true => println!("{state}"),
        false => println!("{} is {}", args.tx, cell(&state["state"])),
    }
    Ok(())
}

impl Create {
    fn manifest(&self) -> anyhow::Result<Value> {
        let mut fields = match &self.manifest {
            Some(path) => read_manifest(path)?,
            None => Map::new(),
        };
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        set("parties", (!self.parties.is_empty()).then(|| json!(self.parties)));
        set("threshold", self.threshold.map(|threshold| json!(threshold)));
        set("protocol", self.protocol.as_ref().map(|protocol| json!(protocol)));
        set("purpose", self.purpose.as_ref().map(|purpose| json!(purpose)));
        set("key_id", self.key_id.as_ref().map(|key_id| json!(key_id)));
        set("finish_within_s", self.finish_within.map(|seconds| json!(seconds)));
        set("require_join", self.no_join.then_some(json!(false)));
        if let Some(path) = &self.payload {
            let payload = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            set("payload_digest", Some(json!(quorate_domain::Sha256::of(&payload))));
            let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, payload);
            set("payload", Some(json!(encoded)));
        }
        Ok(Value::Object(fields))
    }
}

fn read_manifest(path: &std::path::Path) -> anyhow::Result<Map<String, Value>> {
    // The API refuses what is longer; there is no need to read more.
    let limit = quorate_domain::MANIFEST_BYTES_MAX as u64 * 2;
    let mut text = String::new();
    match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)),
    }
    .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))
}

fn summary_row(transaction: &Value) -> [String; 6] {
    let text = |name: &str| cell(&transaction[name]);
    [
        text("tx"),
        text("state"),
        text("protocol"),
        format!("{} of {}", text("threshold"), text("parties")),
        time(&transaction["created_at"]),
        text("purpose"),
    ]
}

fn show_text(shown: &Value) -> String {
    let (manifest, state) = (&shown["manifest"], &shown["state"]);
    let parties = manifest["parties"].as_array().map(Vec::as_slice).unwrap_or_default();
    let heading = [
        ("transaction", cell(&shown["tx"])),
        ("protocol", cell(&manifest["protocol"])),
        ("purpose", cell(&manifest["purpose"])),
        ("initiator", cell(&manifest["initiator"])),
        ("threshold", format!("{} of {}", cell(&manifest["threshold"]), parties.len())),
        ("key", cell(&manifest["key_id"])),
        ("created", time(&state["created_at"])),
        ("state", cell(&state["state"])),
        ("reason", cell(&state["reason"])),
        ("quorate", cell(&state["quorum"]["quorate"])),
        ("waiting for", cell(&state["waiting_for"])),
        ("equivocations", cell(&state["equivocations"]["count"])),
        ("log head", cell(&state["head"])),
    ];
    let mut text = String::new();
    for (name, value) in heading {
        text.push_str(&format!("{name:<14}{value}\n"));
    }
    let is_in = |list: &Value, party: &Value| list.as_array().is_some_and(|list| list.contains(party));
    let rows: Vec<[String; 4]> = parties
        .iter()
        .map(|party| {
            let row =
                shown["slots"]["parties"].as_array().and_then(|rows| rows.iter().find(|row| &row["party"] == party));
            [
                cell(party),
                cell(&json!(is_in(&state["joined"], party))),
                cell(&json!(is_in(&shown["present"], party))),
                row.map_or("-".to_owned(), filled),
            ]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(["party", "joined", "present", "slots"], &rows));
    text
}

/// The filled slots of one party: `join, round1, round2 to bob, result`.
fn filled(row: &Value) -> String {
    let mut slots = Vec::new();
    if row["join"].is_object() {
        slots.push("join".to_owned());
    }
    for (round, cells) in row["rounds"].as_object().into_iter().flatten() {
        if cells["broadcast"].is_object() {
            slots.push(round.clone());
        }
        if cells["echo"].is_object() {
            slots.push(format!("{round} echo"));
        }
        slots.extend(cells["p2p"].as_object().into_iter().flatten().map(|(to, _)| format!("{round} to {to}")));
    }
    for last in ["result", "abort"] {
        if row[last].is_object() {
            slots.push(last.to_owned());
        }
    }
    if slots.is_empty() { "-".to_owned() } else { slots.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_slots_are_listed_in_words() {
        let row = json!({ "join": {"seq": 1}, "result": null, "abort": null,
            "rounds": { "round1": {"broadcast": {"seq": 2}}, "round2": {"p2p": {"bob": {"seq": 3}}} } });
        assert_eq!(filled(&row), "join, round1, round2 to bob");
    }
}
