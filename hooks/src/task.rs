//! Tasks.

use std::future::Future;
use std::pin::Pin;

use tokio::task::JoinHandle;

/// As [`tokio::spawn`]. All of it are tasks of one kind: each kind takes two kilobytes of the program, and is copied
/// as a whole where it is spawned. What a container has several of as long as it lives is better spawned without the
/// box that this takes.
///
/// # Panics
/// As that one does.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    boxed(Box::pin(work))
}

fn boxed(work: Pin<Box<dyn Future<Output = ()> + Send>>) -> JoinHandle<()> {
    tokio::spawn(work)
}
