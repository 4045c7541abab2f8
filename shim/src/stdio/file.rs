//! Output to a file, to a pipe, or to nowhere.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::error::{Error, Result};

/// As large as a read from a pipe gets by default.
const BUFFER: usize = 4096;

/// Appends to the file at `path`, made with its directories where it does not exist.
pub fn append<R>(mut from: R, path: &Path) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io("create directory", dir))?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io("open", path))?;
    let path = path.to_owned();
    tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            // A full disk loses output, but does not stop the container.
            if let Err(e) = file.write_all(&buffer[..count]) {
                log::warn!("write {}: {e}", path.display());
            }
        }
    });
    Ok(())
}

/// Reads and forgets, so that the process never waits.
pub fn discard<R>(mut from: R)
where
    R: AsyncRead + Send + Unpin + 'static,
{
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    });
}

/// Copies to a pipe until either end closes.
pub fn copy_to_pipe<R, W>(mut from: R, mut to: W)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
}
