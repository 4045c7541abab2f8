//! PEM (RFC 7468).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How wide its lines are.
const WIDTH: usize = 64;

/// DER as text.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (i, c) in STANDARD.encode(der).chars().enumerate() {
        if i > 0 && i.is_multiple_of(WIDTH) {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn it_is_read_as_it_was() {
        for length in [1, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length).map(|i: u32| i.to_le_bytes()[0]).collect();
            let text = encode("CERTIFICATE", &der);
            assert!(
                text.lines()
                    .all(|line| !line.is_empty() && line.len() <= WIDTH),
                "{text}"
            );
            let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            assert_eq!(&*read, &*der);
        }
    }
}
