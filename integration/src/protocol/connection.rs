//! A connection to a shim that several threads ask by.

use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use ttrpc::r#async::Client;

/// One connection; its clones share it.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    turn: Arc<Mutex<()>>,
}

impl Connection {
    /// Connects to `unix://…`.
    ///
    /// # Errors
    /// Where nothing listens there.
    pub fn to(address: &str) -> ttrpc::Result<Self> {
        let client = super::runtime().block_on(Client::connect(address))?;
        Ok(Self {
            client,
            turn: Arc::default(),
        })
    }

    /// Asks. A request gets its number before it is queued, and Go's server refuses one that comes after a higher one
    /// ("StreamID cannot be re-used and must increment"): both are done in one turn.
    ///
    /// # Errors
    /// The shim's answer.
    pub async fn request(&self, request: ttrpc::Request) -> ttrpc::Result<ttrpc::Response> {
        let mut asked = pin!(self.client.request(request));
        let mut first = true;
        std::future::poll_fn(|context| {
            let _turn = mem::take(&mut first)
                .then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            asked.as_mut().poll(context)
        })
        .await
    }
}
