//! What TLS computes with: ring's ciphers, and as little else as a hook needs. The program is 400 kB smaller without what
//! checks and makes signatures, and without ring's tables for P-256.

use std::sync::Arc;

use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, Sec1Point, SecretKey, ecdh};
use rustix::rand::{GetRandomFlags, getrandom};
use rustls::crypto::ring::{DEFAULT_CIPHER_SUITES, kx_group};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SharedSecret,
    SupportedKxGroup, WebPkiSupportedAlgorithms,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// For a client that takes every certificate and has none.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: DEFAULT_CIPHER_SUITES.to_vec(),
        kx_groups: vec![kx_group::X25519, &P256, kx_group::SECP384R1],
        signature_verification_algorithms: WebPkiSupportedAlgorithms {
            all: &[],
            mapping: &[],
        },
        secure_random: &Kernel,
        key_provider: &NoKeys,
    }
}

/// The kernel's random numbers.
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        // As many as are asked for here come at once, or none.
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(count) if count == bytes.len() => Ok(()),
            _ => Err(GetRandomFailed),
        }
    }
}

#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("a hook has no key".to_owned()))
    }
}

/// The key exchange with NIST's curve P-256.
#[derive(Debug)]
struct P256;

impl SupportedKxGroup for P256 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = loop {
            let mut bytes = [0; 32];
            Kernel.fill(&mut bytes)?;
            // Four in 2^34 are no key.
            if let Ok(secret) = SecretKey::from_slice(&bytes) {
                break secret;
            }
        };
        let public = secret.public_key().to_sec1_point(false);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

struct Exchange {
    secret: SecretKey,
    public: Sec1Point,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // The others are not TLS's (RFC 8446, 4.2.8.2), and nothing of 1.2 asks for them.
        let uncompressed = Some(peer).filter(|peer| peer.first() == Some(&4));
        let peer = uncompressed.and_then(|peer| PublicKey::from_sec1_bytes(peer).ok());
        let peer = peer.ok_or(PeerMisbehaved::InvalidKeyShare)?;
        let shared = ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), peer.as_affine());
        Ok(shared.raw_secret_bytes().as_slice().into())
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        P256.name()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_an_exchange_get_the_same() {
        let (ours, theirs) = (P256.start().unwrap(), kx_group::SECP256R1.start().unwrap());
        let (sent, got) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let (ours, theirs) = (
            ours.complete(&got).unwrap(),
            theirs.complete(&sent).unwrap(),
        );
        assert_eq!(ours.secret_bytes(), theirs.secret_bytes());
        assert_ne!(P256.start().unwrap().pub_key(), sent);
    }

    #[test]
    fn what_is_no_uncompressed_point_of_the_curve_is_refused() {
        let point = P256.start().unwrap().pub_key().to_vec();
        let refused = |peer: &[u8]| {
            let error = P256.start().unwrap().complete(peer).err();
            assert_eq!(
                error,
                Some(PeerMisbehaved::InvalidKeyShare.into()),
                "{peer:?}"
            );
        };
        let even = point[64].is_multiple_of(2);
        let compressed = [&[if even { 2 } else { 3 }], &point[1..33]].concat();
        refused(&compressed);
        refused(&point[..64]);
        refused(&[]);
        refused(&[0]);
        let mut beside = point.clone();
        beside[64] ^= 1;
        refused(&beside);
        assert!(P256.start().unwrap().complete(&point).is_ok());
    }
}
