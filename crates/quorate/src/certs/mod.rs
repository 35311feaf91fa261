//! `quorate certs`: fills a certificates folder, issues one certificate, shows what certificates say.
//!
//! How a certificate is made is `quorate_identity::authority`'s matter; here stand the options and the words.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use quorate_identity::authority::{
    Authority, Existing, FolderPlan, LEAF_DAYS_DEFAULT, Outcome, SERVER_NAMES_DEFAULT, fill_folder,
};

pub mod master_key;
mod show;

/// The name of the broker's own certificate.
pub const BROKER: &str = "broker";
/// The name of the API admin that the shipped `broker.toml` knows.
pub const OPERATOR: &str = "operator";
/// The parties that get a certificate unless others are named: those of the demo.
pub const PARTIES_DEFAULT: [&str; 4] = ["alice", "bob", "carol", "mallory"];

/// Make and read certificates: a development CA, one certificate a party.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A party is whoever holds a certificate: the CN of its subject is the party's name, and the broker
knows no other. `certs init` makes an authority (CA) and certificates that it signed; the broker
trusts the CA's file, and everybody keeps a key file of their own.

`certs init` also makes master.key, under which the broker seals what it stores. Keep a copy of it
apart from the store and its backups: without it nothing that was sealed can be read.

The authority is for development: its key lies in the same folder. In use, let your own CA issue
certificates with the party's name as the only CN and clientAuth as usage.

Examples:
  quorate certs init
  quorate certs issue dave
  quorate certs issue broker-2 --server --san broker-2.example.com --san 10.0.0.7
  quorate certs show certs/alice.pem")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a development CA, certificates for the broker, the operator and some parties, and a master key.
    ///
    /// A second run keeps what is there, makes what is missing, and says which is which.
    Init(InitArgs),
    /// Issue one more certificate from the CA in the folder.
    Issue(IssueArgs),
    /// Say what certificate files hold: party, validity, fingerprint, usages, names, key.
    Show(show::Args),
}

#[derive(Debug, clap::Args)]
struct InitArgs {
    /// The folder; it is made where it is missing.
    #[arg(long, default_value = "certs")]
    dir: PathBuf,
    /// The parties that get a certificate, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = PARTIES_DEFAULT)]
    parties: Vec<String>,
    /// A DNS name or IP address of the broker beside localhost, 127.0.0.1 and ::1; may be repeated.
    #[arg(long, value_name = "NAME")]
    san: Vec<String>,
    /// How many days new certificates are valid.
    #[arg(long, default_value_t = LEAF_DAYS_DEFAULT)]
    days: u32,
    /// Make certificates anew, with new keys, also where they are there. The CA always stays.
    #[arg(long)]
    force: bool,
    /// One JSON object instead of lines for a person.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct IssueArgs {
    /// The name: the CN of the certificate, and the name of its files.
    name: String,
    /// The folder with the CA; the files go there too.
    #[arg(long, default_value = "certs")]
    dir: PathBuf,
    /// A certificate for a server instead of a party.
    #[arg(long)]
    server: bool,
    /// A DNS name or IP address of the server; may be repeated.
    #[arg(long, value_name = "NAME", requires = "server", default_values = SERVER_NAMES_DEFAULT)]
    san: Vec<String>,
    /// How many days it is valid.
    #[arg(long, default_value_t = LEAF_DAYS_DEFAULT)]
    days: u32,
    /// Replace the certificate and the key that are there.
    #[arg(long)]
    force: bool,
}

/// Runs one of the three.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Init(args) => init(&args)?,
        Command::Issue(args) => issue(&args)?,
        Command::Show(args) => show::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a development folder holds: the broker, the operator and `parties`.
pub fn development_plan(parties: &[String], broker_names: &[String], days: u32) -> FolderPlan {
    let names = SERVER_NAMES_DEFAULT.iter().map(|&name| name.to_owned());
    let operator = std::iter::once(OPERATOR.to_owned());
    let parties = parties.iter().filter(|party| *party != OPERATOR).cloned();
    FolderPlan {
        servers: vec![(BROKER.to_owned(), names.chain(broker_names.iter().cloned()).collect())],
        parties: operator.chain(parties).collect(),
        days,
        existing: Existing::Keep,
    }
}

fn init(args: &InitArgs) -> anyhow::Result<()> {
    if args.parties.iter().any(|party| party == BROKER) {
        anyhow::bail!("`{BROKER}` is the name of the broker's own certificate; name the party otherwise");
    }
    let mut plan = development_plan(&args.parties, &args.san, args.days);
    if args.force {
        plan.existing = Existing::Renew;
    }
    let entries = fill_folder(&args.dir, &plan)?;
    let master_key = master_key::keep_or_make(&args.dir)?;
    let master_key_path = args.dir.join(master_key::FILE);
    if args.json {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| {
                serde_json::json!({
                    "name": entry.name,
                    "certificate": certificate_path(&args.dir, &entry.name),
                    "key": key_path(&args.dir, &entry.name),
                    "outcome": outcome_word(entry.outcome),
                })
            })
            .collect();
        let master_key = serde_json::json!({ "path": master_key_path, "outcome": outcome_word(master_key) });
        println!("{}", serde_json::json!({ "certificates": entries, "master_key": master_key }));
        return Ok(());
    }
    for entry in &entries {
        let path = certificate_path(&args.dir, &entry.name);
        println!("{:<8} {}", outcome_word(entry.outcome), path.display());
    }
    println!("{:<8} {}", outcome_word(master_key), master_key_path.display());
    if entries.iter().any(|entry| entry.outcome == Outcome::Kept) {
        println!("What was kept is as it was; `--force` makes all anew but the CA and the master key.");
    }
    Ok(())
}

fn issue(args: &IssueArgs) -> anyhow::Result<()> {
    let authority = Authority::open(&args.dir)?;
    let issued = if args.server {
        authority.issue_server(&args.name, &args.san, args.days)?
    } else {
        authority.issue_party(&args.name, args.days)?
    };
    if args.force {
        issued.replace(&args.dir, &args.name)?;
    } else {
        issued.write(&args.dir, &args.name)?;
    }
    println!("certificate  {}", certificate_path(&args.dir, &args.name).display());
    println!("key          {}", key_path(&args.dir, &args.name).display());
    Ok(())
}

fn certificate_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pem"))
}

fn key_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key.pem"))
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Kept => "kept",
        Outcome::Renewed => "renewed",
    }
}
