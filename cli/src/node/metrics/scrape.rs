//! One look at the node: every shim asked, every record read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use podhook_hooks::counters::Counters;
use podhook_hooks::counters::ledger::{self, Ledger, Locked};

use super::Error;
use crate::node::bundles::{self, Recorded};
use crate::node::shims::{self, ShimReply};

/// How long another scrape may take.
const LOCK_LIMIT: Duration = Duration::from_secs(65);

#[derive(Debug, Clone)]
pub struct Node {
    /// containerd's state directory.
    pub state: PathBuf,
    /// For all answers together.
    pub timeout: Duration,
}

#[derive(Debug, Default)]
pub struct Scrape {
    /// Since the node's boot.
    pub counters: Counters,
    /// Shims that have answered.
    pub up: u64,
    /// Those that should have.
    pub silent: u64,
    /// Bundles whose record cannot be read.
    pub unreadable: u64,
    /// Containers with a lifecycle.
    pub containers: Vec<Recorded>,
    /// How long it took.
    pub took: Duration,
}

impl Node {
    /// Looks.
    ///
    /// # Errors
    /// When the bundles, or the counters of ended shims, cannot be read or kept.
    pub async fn scrape(&self) -> Result<Scrape, Error> {
        let began = Instant::now();
        let mut scrape = Scrape::default();
        // Before the folder below it is made: a wrong directory stays as it is.
        bundles::list(&self.state)?;
        if !self.state.join("podhook").exists() && !self.any_answers().await? {
            // No shim of podhook's has been here since the boot: reading leaves nothing behind.
            scrape.took = began.elapsed();
            return Ok(scrape);
        }
        let locked = self.lock().await?;
        let mut ledger = locked.read().map_err(|source| Error::Ledger {
            path: locked.path(),
            source,
        })?;
        // Read under the lock: a shim that ends now waits with its last words.
        let bundles = bundles::list(&self.state)?;
        let mut addresses: BTreeSet<String> = bundles.iter().filter_map(shims::address).collect();
        addresses.extend(ledger.live.values().map(|live| live.address.clone()));
        let said = shims::ask_all(addresses, self.timeout).await;
        for (address, said) in &said {
            match said {
                ShimReply::Counters(_) => scrape.up = scrape.up.saturating_add(1),
                ShimReply::Nothing(why) => {
                    eprintln!("warning: shim at {address}: {why}");
                    scrape.silent = scrape.silent.saturating_add(1);
                }
                ShimReply::Gone | ShimReply::Foreign => {}
            }
        }
        let before = ledger.clone();
        settle(&mut ledger, said);
        if ledger != before {
            locked.write(&ledger).map_err(|source| Error::Ledger {
                path: locked.path(),
                source,
            })?;
        }
        drop(locked);
        scrape.counters = ledger.total();
        for bundle in bundles {
            match bundle.recorded() {
                Ok(recorded) => scrape.containers.extend(recorded),
                Err(_) => scrape.unreadable = scrape.unreadable.saturating_add(1),
            }
        }
        scrape.took = began.elapsed();
        Ok(scrape)
    }

    /// Whether some shim is podhook's.
    async fn any_answers(&self) -> Result<bool, Error> {
        let bundles = bundles::list(&self.state)?;
        let addresses = bundles.iter().filter_map(shims::address).collect();
        let said = shims::ask_all(addresses, self.timeout).await;
        let mut said = said.into_values();
        Ok(said.any(|said| matches!(said, ShimReply::Counters(_) | ShimReply::Nothing(_))))
    }

    async fn lock(&self) -> Result<Locked, Error> {
        let path = || self.state.join("podhook");
        let locked = tokio::time::timeout(LOCK_LIMIT, async {
            loop {
                if let Some(locked) = ledger::try_lock(&self.state)? {
                    return Ok(locked);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        match locked.await {
            Ok(locked) => locked.map_err(|source| Error::Ledger {
                path: path(),
                source,
            }),
            Err(_) => Err(Error::Locked { path: path() }),
        }
    }
}

/// Notes what was said. A shim that hangs keeps its last numbers; one that is gone without having
/// left its own, too.
fn settle(ledger: &mut Ledger, said: BTreeMap<String, ShimReply>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let before: Vec<(String, String)> = ledger
        .live
        .iter()
        .map(|(shim, live)| (shim.clone(), live.address.clone()))
        .collect();
    for (shim, address) in before {
        let gone = match said.get(&address) {
            Some(ShimReply::Counters(answer)) => answer.shim != shim,
            Some(ShimReply::Gone | ShimReply::Foreign) => true,
            Some(ShimReply::Nothing(_)) | None => false,
        };
        if gone {
            ledger.missed(&shim, now.as_secs());
        }
    }
    for (address, said) in said {
        if let ShimReply::Counters(answer) = said
            && !answer.counters.is_empty()
        {
            ledger.seen(&address, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use podhook_hooks::build::Build;
    use podhook_hooks::counters::ledger::Answer;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_node_without_podhook_is_read_without_leaving_anything() {
        let state = tempfile::tempdir().unwrap();
        let node = Node {
            state: state.path().to_owned(),
            timeout: Duration::from_secs(5),
        };
        let scrape = node.scrape().await.unwrap();
        assert_eq!((scrape.up, scrape.silent), (0, 0));
        assert_eq!(state.path().read_dir().unwrap().count(), 0);
    }

    fn counters(shim: &str, execs: u64) -> ShimReply {
        ShimReply::Counters(Answer {
            shim: shim.to_owned(),
            build: Build::own(),
            counters: Counters {
                execs_native: execs,
                ..Counters::default()
            },
        })
    }

    fn round(ledger: &mut Ledger, said: &[(&str, ShimReply)]) -> u64 {
        let said = said
            .iter()
            .map(|(address, said)| ((*address).to_owned(), said.clone()));
        settle(ledger, said.collect());
        ledger.total().execs_native
    }

    #[test]
    fn the_sum_never_falls_whatever_becomes_of_a_shim() {
        let mut ledger = Ledger::default();
        assert_eq!(
            round(
                &mut ledger,
                &[("a", counters("1", 4)), ("b", counters("2", 5))]
            ),
            9
        );
        // One hangs, one was killed.
        let hangs = ShimReply::Nothing("no answer in time".to_owned());
        assert_eq!(
            round(&mut ledger, &[("a", hangs), ("b", ShimReply::Gone)]),
            9
        );
        assert!(
            ledger.live["1"].missing_since.is_none() && ledger.live["2"].missing_since.is_some()
        );
        // Another shim has the address of the killed one.
        assert_eq!(
            round(
                &mut ledger,
                &[("a", counters("1", 6)), ("b", counters("3", 1))]
            ),
            12
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn hung_shims_cost_one_timeout_together() {
        let state = tempfile::tempdir().unwrap();
        let mut listeners = Vec::new();
        for n in 0..20 {
            let bundle = bundles::folder(state.path()).join(format!("k8s.io/c{n}"));
            std::fs::create_dir_all(&bundle).unwrap();
            let socket = state.path().join(format!("s{n}"));
            listeners.push(std::os::unix::net::UnixListener::bind(&socket).unwrap());
            std::fs::write(
                bundle.join("address"),
                format!("unix://{}", socket.display()),
            )
            .unwrap();
            std::fs::write(bundle.join("podhook.json"), "half a rec").unwrap();
        }
        let node = Node {
            state: state.path().to_owned(),
            timeout: Duration::from_secs(3),
        };
        let scrape = node.scrape().await.unwrap();
        assert_eq!((scrape.up, scrape.silent, scrape.unreadable), (0, 20, 20));
        // One after the other they would take 60 s.
        assert!(scrape.took < Duration::from_secs(50), "{:?}", scrape.took);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_wrong_directory_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let node = Node {
            state: folder.path().join("none"),
            timeout: Duration::from_millis(100),
        };
        assert!(
            node.scrape()
                .await
                .unwrap_err()
                .to_string()
                .contains("--state")
        );
        assert!(!node.state.exists());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn spoilt_counters_are_named() {
        let state = tempfile::tempdir().unwrap();
        drop(ledger::try_lock(state.path()).unwrap());
        std::fs::write(state.path().join("podhook/counters.json"), "{").unwrap();
        let node = Node {
            state: state.path().to_owned(),
            timeout: Duration::from_millis(100),
        };
        let error = node.scrape().await.unwrap_err().to_string();
        assert!(error.contains("podhook/counters.json: "), "{error}");
    }
}
