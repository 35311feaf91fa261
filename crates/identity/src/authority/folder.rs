//! A certificates folder as a whole: what `quorate certs init` and the demo need, made where it is missing.

use std::path::Path;

use super::files::{self, Presence};
use super::{Authority, AuthorityError, CA_NAME, Issued};

/// What a folder shall hold beside its authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderPlan {
    /// Names of server certificates, each with the DNS names and addresses that it is for.
    pub servers: Vec<(String, Vec<String>)>,
    /// Names of party certificates.
    pub parties: Vec<String>,
    /// How long new certificates are valid.
    pub days: u32,
    /// What becomes of certificates that are there. The authority is always kept.
    pub existing: Existing,
}

/// What becomes of a certificate that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays.
    Keep,
    /// A new key and certificate take its place.
    Renew,
}

/// One certificate of the folder, and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEntry {
    /// Its name: its files are `{name}.pem` and `{name}.key.pem`.
    pub name: String,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done about one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was there and stays.
    Kept,
    /// It was there and was made anew.
    Renewed,
}

/// Makes what is missing in `dir`: the authority first, then the servers, then the parties. Running it again changes
/// nothing, unless the plan says to renew.
///
/// # Errors
/// At the first certificate that cannot be made or written; what was made before it stays.
pub fn fill_folder(dir: &Path, plan: &FolderPlan) -> Result<Vec<FolderEntry>, AuthorityError> {
    let (authority, outcome) = match files::pair(dir, CA_NAME).presence()? {
        Presence::Both => (Authority::open(dir)?, Outcome::Kept),
        Presence::Neither => (Authority::create(dir)?, Outcome::Created),
    };
    let mut entries = vec![FolderEntry { name: CA_NAME.to_owned(), outcome }];
    for (name, names) in &plan.servers {
        let issue = || authority.issue_server(name, names, plan.days);
        entries.push(ensure(dir, name, plan.existing, issue)?);
    }
    for name in &plan.parties {
        let issue = || authority.issue_party(name, plan.days);
        entries.push(ensure(dir, name, plan.existing, issue)?);
    }
    Ok(entries)
}

fn ensure(
    dir: &Path,
    name: &str,
    existing: Existing,
    issue: impl FnOnce() -> Result<Issued, AuthorityError>,
) -> Result<FolderEntry, AuthorityError> {
    let outcome = match (files::pair(dir, name).presence(), existing) {
        (Ok(Presence::Neither), _) => {
            issue()?.write(dir, name)?;
            Outcome::Created
        }
        (Ok(Presence::Both), Existing::Keep) => Outcome::Kept,
        (Err(half), Existing::Keep) => return Err(half),
        // Renewing also mends a half pair.
        (Ok(Presence::Both) | Err(_), Existing::Renew) => {
            issue()?.replace(dir, name)?;
            Outcome::Renewed
        }
    };
    Ok(FolderEntry { name: name.to_owned(), outcome })
}
