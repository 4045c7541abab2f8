//! Start of init, up to the Running transition.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Container;
use super::state::Operation;
use crate::error::{Error, Result};

impl Container {
    /// Starts init and waits until it is Running, which a postStart hook delays, or has failed.
    /// `deadline` is the client's.
    pub async fn start(self: &Arc<Self>, deadline: Option<Duration>) -> Result<u32> {
        let asked = tokio::time::Instant::now();
        let reply = {
            let _starting = self.starting.lock().await;
            self.claim_start()?;
            let started = match &self.checkpoint {
                Some(checkpoint) => self.restore(checkpoint).await,
                None => self
                    .runtime
                    .start()
                    .await
                    .inspect(|()| self.await_entrypoint()),
            };
            if let Err(e) = started {
                // Whether init survives is the runtime's business; it may be tried again, or deleted.
                self.lock().start_called = false;
                return Err(e);
            }
            let (sender, reply) = oneshot::channel();
            let left = deadline.map(|deadline| deadline.saturating_sub(asked.elapsed()));
            self.begin(sender, left);
            reply
        };
        let gone = Error::Missing("the container's lifecycle ended without an answer");
        reply.await.unwrap_or(Err(gone))?;
        Ok(self.pid())
    }

    fn claim_start(&self) -> Result<()> {
        self.allows(Operation::Start)?;
        self.lock().start_called = true;
        Ok(())
    }

    fn begin(self: &Arc<Self>, reply: oneshot::Sender<Result<()>>, left: Option<Duration>) {
        self.drive(|driver| {
            let rpc_deadline = left.map(|left| driver.now().saturating_add(left));
            driver.started(reply, rpc_deadline)
        });
    }
}
