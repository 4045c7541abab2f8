//! Start of init, up to the Running transition.

use std::sync::Arc;
use std::time::Duration;

use podhook_hooks::sequence::Event;
use tokio::sync::oneshot;

use super::{Container, Freezer};
use crate::error::{Error, Result};

impl Container {
    /// Starts init and waits until it is Running, which a postStart hook delays, or has failed.
    /// `deadline` is what the client leaves.
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
        reply.await.unwrap_or_else(|_| {
            Err(Error::Unknown(
                "the container's lifecycle ended without an answer".to_owned(),
            ))
        })?;
        Ok(self.pid())
    }

    fn claim_start(&self) -> Result<()> {
        let mut state = self.lock();
        if state.deleted {
            return Err(Error::Unknown("cannot start a deleted process".to_owned()));
        }
        if self.init.exit().is_some() || state.init_gone {
            return Err(Error::Unknown("cannot start a stopped process".to_owned()));
        }
        if matches!(state.freezer, Freezer::Paused | Freezer::Thawing) {
            return Err(Error::Unknown("cannot start a paused process".to_owned()));
        }
        if state.start_called {
            return Err(Error::Unknown("cannot start a running process".to_owned()));
        }
        state.start_called = true;
        Ok(())
    }

    fn begin(self: &Arc<Self>, reply: oneshot::Sender<Result<()>>, deadline: Option<Duration>) {
        let mut driver = self.driver();
        driver.reply = Some(reply);
        let rpc_deadline = deadline.map(|deadline| driver.now() + deadline);
        drop(driver);
        self.step(Event::Started { rpc_deadline });
    }
}
