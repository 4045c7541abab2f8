//! Tasks.

use std::future::Future;
use std::pin::Pin;

use tokio::task::JoinHandle;

/// As [`tokio::spawn`], for what does not live as long as a container does. All of it are tasks of one kind: each kind
/// takes two kilobytes of the program, and is moved as a whole where it is spawned.
///
/// # Panics
/// As that one does.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    boxed(Box::pin(work))
}

fn boxed(work: Pin<Box<dyn Future<Output = ()> + Send>>) -> JoinHandle<()> {
    tokio::spawn(work)
}
