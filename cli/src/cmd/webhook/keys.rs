//! The certificate that is shown: read from files, and read again when they change. Connections go on with the old one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::expiry;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
    #[error("{} is not the key of {}: {reason}", key.display(), certificate.display())]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        reason: String,
    },
}

/// A certificate with its key, and its end.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) expires: Timestamp,
}

impl Pair {
    fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| Error::Read {
                path: path.to_owned(),
                source,
            })
        };
        let unfit = |path: &Path, reason: String| Error::Content {
            path: path.to_owned(),
            reason,
        };
        let text = read(certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|e| unfit(certificate, e.to_string()))?;
        let expires = chain.first().and_then(|first| expiry::of(first));
        let expires =
            expires.ok_or_else(|| unfit(certificate, "no certificate (PEM)".to_owned()))?;
        let text = read(key)?;
        let secret = PrivateKeyDer::from_pem_slice(&text);
        let secret = secret.map_err(|e| unfit(key, e.to_string()))?;
        let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider());
        let certified = certified.map_err(|e| Error::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reason: e.to_string(),
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            expires,
        })
    }
}

/// What tells one version of a file from the next, through the links of a mounted Secret.
type Stamp = [Option<(u64, u64, i64, i64, u64)>; 2];

/// The files, and what was last read from them.
#[derive(Debug)]
pub(super) struct Keys {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<(Stamp, Option<Pair>)>,
}

/// What a look at the files has found.
#[derive(Debug)]
pub(super) enum Look {
    Same,
    New(Pair),
    /// They changed, and are no good: the old certificate is shown on.
    Unfit(Error),
}

impl Keys {
    pub(super) fn new(certificate: &Path, key: &Path) -> Self {
        Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            now: RwLock::default(),
        }
    }

    /// Reads the files if they are others than the last time.
    pub(super) fn look(&self) -> Look {
        let stamp = [&self.certificate, &self.key].map(|path| stamp(path));
        if self.with(|(last, pair)| *last == stamp && pair.is_some()) {
            return Look::Same;
        }
        match Pair::load(&self.certificate, &self.key) {
            Ok(pair) => {
                let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
                *now = (stamp, Some(pair.clone()));
                Look::New(pair)
            }
            // Perhaps only one of the two is new yet: the next look tries again.
            Err(error) => Look::Unfit(error),
        }
    }

    /// The certificate that is shown.
    pub(super) fn pair(&self) -> Option<Pair> {
        self.with(|(_, pair)| pair.clone())
    }

    fn with<T>(&self, read: impl FnOnce(&(Stamp, Option<Pair>)) -> T) -> T {
        read(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair().map(|pair| pair.certified)
    }
}

fn stamp(path: &Path) -> Option<(u64, u64, i64, i64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.mtime(),
        file.mtime_nsec(),
        file.len(),
    ))
}
