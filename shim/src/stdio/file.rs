//! Output to a file, to a pipe, or to nowhere: copies that end with their source.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::copy::{chunk, copy};
use crate::error::{Error, Result};
use crate::host::apart;

/// Whether there is a fifo at `path`.
pub fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether there is a file at `path`, to which output can be appended.
pub fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Appends to the file at `path`, made with its directories where it does not exist.
pub fn append<R>(copies: &mut JoinSet<()>, mut from: R, path: &Path) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io("create directory", dir))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io("open", path))?;
    let (file, path) = (Arc::new(file), path.to_owned());
    copies.spawn(async move {
        while let Ok(bytes) = chunk(&mut from).await
            && !bytes.is_empty()
        {
            // A full disk loses output, but does not stop the container.
            if let Err(e) = write(&file, bytes).await {
                log::warn!("write {}: {e}", path.display());
            }
        }
    });
    Ok(())
}

/// Aside: a file server that does not answer must hold up nobody else.
async fn write(file: &Arc<File>, bytes: Vec<u8>) -> io::Result<()> {
    let file = Arc::clone(file);
    let written = apart::start(move || (&*file).write_all(&bytes));
    written.await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Reads and forgets, so that the process never waits.
pub fn discard<R>(copies: &mut JoinSet<()>, mut from: R)
where
    R: AsyncRead + Send + Unpin + 'static,
{
    copies.spawn(async move {
        let _ = copy(&mut from, &mut tokio::io::sink()).await;
    });
}

/// Copies to a pipe until either end closes.
pub fn copy_to_pipe<R, W>(copies: &mut JoinSet<()>, mut from: R, mut to: W)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    copies.spawn(async move {
        let _ = copy(&mut from, &mut to).await;
    });
}
