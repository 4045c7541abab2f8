//! What every command works with.

use super::Error;
use crate::args::Global;
use crate::cri::Client;
use crate::store::Store;

/// The connection, the store and the global options.
#[derive(Debug)]
pub struct Context {
    /// The connection to containerd.
    pub client: Client,
    pub store: Store,
    /// The global options.
    pub global: Global,
}

impl Context {
    /// Connects.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn new(global: Global) -> Result<Self, Error> {
        let store = Store::new(&global.root_dir)?;
        let client = Client::connect(&global.address).await?;
        // Another process of this command may have another working directory.
        let global = Global {
            root_dir: store.root().to_owned(),
            ..global
        };
        Ok(Self {
            client,
            store,
            global,
        })
    }

    /// The namespace of commands that name pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.global.namespace.as_deref().unwrap_or("default")
    }
}
