//! The options that all commands share which talk to a broker: who asks, and where the broker is.

use std::path::PathBuf;

use anyhow::Context;
use quorate_client::{Client, ConnectOptions, Identity, IdentityError, Version, api::ApiClient};

/// Who connects.
#[derive(Debug, Clone, clap::Args)]
pub struct IdentityArgs {
    /// The party to connect as: the name of its files in the certificate folder (alice.pem, alice.key.pem).
    #[arg(long = "as", value_name = "NAME")]
    pub name: String,
    /// The certificate folder, with ca.pem and the party's files. `quorate certs init` makes one.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub certs: PathBuf,
}

/// Where the broker is, and how to speak to it.
#[derive(Debug, Clone, clap::Args)]
pub struct BrokerArgs {
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The broker.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8883")]
    pub broker: String,
    /// The name that the broker's certificate must carry, where it is not the host of --broker.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// The name of the session. With one, the broker keeps the session between runs; without, it is thrown away.
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Speak MQTT 3.1.1 instead of 5. A refusal then only closes the connection: 3.1.1 has no words for it.
    #[arg(long)]
    pub v311: bool,
}

/// Where the HTTP API is.
#[derive(Debug, Clone, clap::Args)]
pub struct ApiArgs {
    /// The party to ask as: the name of its files in the certificate folder. An admin sees everything.
    #[arg(long = "as", value_name = "NAME", default_value = "operator")]
    pub name: String,
    /// The certificate folder, with ca.pem and the party's files. `quorate certs init` makes one.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub certs: PathBuf,
    /// The broker's HTTP API.
    #[arg(long, value_name = "URL", default_value = "https://localhost:8884")]
    pub api: String,
    /// Print the API's JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl IdentityArgs {
    /// Reads the party's files.
    pub fn load(&self) -> anyhow::Result<Identity> {
        load_identity(&self.certs, &self.name)
    }
}

impl BrokerArgs {
    /// Connects. Without a client id the session is a throw-away one. `is_clean` forgets what a named one had.
    pub async fn connect(&self, is_clean: bool) -> anyhow::Result<Client> {
        let mut options = ConnectOptions::new(&self.broker, self.identity.load()?, "");
        if !self.broker.contains(':') {
            options.address = format!("{}:8883", self.broker);
        }
        if let Some(name) = &self.server_name {
            options.server_name.clone_from(name);
        }
        if self.v311 {
            options.version = Version::V3_1_1;
        }
        match &self.client_id {
            Some(client_id) => {
                options.client_id.clone_from(client_id);
                options.clean_start = is_clean;
            }
            None => {
                options.clean_start = true;
                options.session_expiry_s = 0;
            }
        }
        let context = || format!("cannot connect to {} as {}", self.broker, self.identity.name);
        Client::connect(options).await.with_context(context)
    }
}

impl ApiArgs {
    /// Makes a client of the API; nothing is asked yet.
    pub fn client(&self) -> anyhow::Result<ApiClient> {
        Ok(ApiClient::new(&self.api, &load_identity(&self.certs, &self.name)?)?)
    }
}

/// Reads a party's files and, where one is missing, says what makes it.
pub fn load_identity(certs: &std::path::Path, name: &str) -> anyhow::Result<Identity> {
    let folder = certs.display();
    Identity::load(certs, name).map_err(|error| match error {
        IdentityError::Missing(path) if path.ends_with("ca.pem") => {
            anyhow::anyhow!("{} does not exist. `quorate certs init --dir {folder}` makes a CA", path.display())
        }
        IdentityError::Missing(path) => anyhow::anyhow!(
            "{} does not exist. `quorate certs issue {name} --dir {folder}` makes a certificate for {name}",
            path.display()
        ),
        other => anyhow::Error::new(other).context(format!("the identity of {name} in {folder}")),
    })
}
