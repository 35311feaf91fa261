//! `quorate party`: who is present, over the HTTP API.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use crate::{
    connect::ApiArgs,
    table::{cell, table, time},
};

/// Pages that `list` reads at most.
const PAGES_MAX: usize = 50;

const EXAMPLES: &str = "\
Examples:
  Is carol there, and when was she last?
    quorate party show --as alice carol
  Everyone, as an admin:
    quorate party list

You may ask about yourself and about parties that have joined a common transaction with you; an admin about everyone.";

/// Ask who is present.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One party.
    Show(Show),
    /// The parties that you may ask about.
    List(List),
}

/// One party.
#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    api: ApiArgs,
    /// The party: the CN of its certificate.
    cn: String,
}

/// The parties that you may ask about.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    api: ApiArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Show(args) => show(args).await,
        Command::List(args) => list(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: Show) -> anyhow::Result<()> {
    let party = args.api.client()?.party(&args.cn).await.with_context(|| args.cn.clone())?;
    match args.api.json {
        true => println!("{party}"),
        false => print!("{}", parties_table(std::slice::from_ref(&party))),
    }
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let client = args.api.client()?;
    let mut after: Option<String> = None;
    let mut parties = Vec::new();
    for _ in 0..PAGES_MAX {
        let query: Vec<(&str, &str)> = after.as_deref().map(|after| ("after", after)).into_iter().collect();
        let mut page = client.parties_page(&query).await?;
        parties.extend(page["parties"].as_array_mut().map(std::mem::take).unwrap_or_default());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    match args.api.json {
        true => println!("{}", json!({ "parties": parties, "next": after })),
        false => print!("{}", parties_table(&parties)),
    }
    Ok(())
}

fn parties_table(parties: &[Value]) -> String {
    let rows: Vec<[String; 5]> = parties
        .iter()
        .map(|party| {
            [
                cell(&party["party"]),
                cell(&party["online"]),
                time(&party["since"]),
                time(&party["last_seen"]),
                cell(&party["sessions"]),
            ]
        })
        .collect();
    table(["party", "online", "since", "last seen", "sessions"], &rows)
}
