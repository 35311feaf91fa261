//! A certificate authority of a test's own.

use std::path::Path;

use quorate_client::Identity;
use quorate_domain::Sha256;
use quorate_identity::authority::{Authority, LEAF_DAYS_DEFAULT, SERVER_NAMES_DEFAULT};
use tempfile::TempDir;

/// The name of the broker's own certificate.
pub(crate) const BROKER: &str = "broker";

/// The name of the master key's file.
pub(crate) const MASTER_KEY: &str = "master.key";

/// A development CA in a temporary folder, which goes with it. It has issued `broker`; parties come when asked for.
#[derive(Debug)]
pub struct TestCa {
    folder: TempDir,
    authority: Authority,
}

impl TestCa {
    /// Makes a CA and the broker's certificate.
    ///
    /// # Errors
    /// When the temporary folder cannot be used.
    pub fn new() -> anyhow::Result<TestCa> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::create(folder.path())?;
        let names = SERVER_NAMES_DEFAULT.map(str::to_owned);
        authority.issue_server(BROKER, &names, LEAF_DAYS_DEFAULT)?.write(folder.path(), BROKER)?;
        // As good as any for a test, and there before its broker: a sum of the authority's certificate.
        let sum = Sha256::of(&std::fs::read(folder.path().join("ca.pem"))?);
        let digits = sum.to_string();
        std::fs::write(folder.path().join(MASTER_KEY), digits.trim_start_matches("sha256:"))?;
        Ok(TestCa { folder, authority })
    }

    /// The folder: `ca.pem`, `{name}.pem`, `{name}.key.pem`.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the certificate of a party, unless it is there.
    ///
    /// # Errors
    /// When `cn` is not a party id, or the files cannot be written.
    pub fn issue(&self, cn: &str) -> anyhow::Result<()> {
        if !self.dir().join(format!("{cn}.pem")).exists() {
            self.authority.issue_party(cn, LEAF_DAYS_DEFAULT)?.write(self.dir(), cn)?;
        }
        Ok(())
    }

    /// Makes a certificate with any CNs, also such as a broker must refuse; its files are called `name`.
    ///
    /// # Errors
    /// When the files cannot be written, or are there.
    pub fn issue_unchecked(&self, name: &str, common_names: &[&str]) -> anyhow::Result<Identity> {
        self.authority.issue_danger_unchecked(common_names)?.write(self.dir(), name)?;
        Ok(Identity::load(self.dir(), name)?)
    }

    /// A party as the client crate takes it; its certificate is made where it is missing.
    ///
    /// # Errors
    /// As [`TestCa::issue`].
    pub fn identity(&self, cn: &str) -> anyhow::Result<Identity> {
        self.issue(cn)?;
        Ok(Identity::load(self.dir(), cn)?)
    }
}
