//! When a certificate ends. Of X.509 nothing else is of interest here: rustls judges the rest.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate (DER); none where it is no certificate.
pub(super) fn of(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = inside(der, SEQUENCE)?;
    let (mut rest, _) = inside(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // The serial number, the algorithm, the issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = inside(rest, SEQUENCE)?;
    let (kind, text, _) = element(element(validity)?.2)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match kind {
        // RFC 5280: years from 50 are of the last century.
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// What an element of this kind holds, and what comes after it.
fn inside(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == kind).then_some((content, rest))
}

/// The first element: its kind, what it holds, what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, der) = der.split_first()?;
    let (first, der) = der.split_first()?;
    let (length, der) = match first {
        0..=0x7f => (usize::from(*first), der),
        _ => {
            let (bytes, der) = der.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.len() > 4 {
                return None;
            }
            let add =
                |n: usize, byte: &u8| n.saturating_mul(256).saturating_add(usize::from(*byte));
            let length = bytes.iter().fold(0, add);
            (length, der)
        }
    };
    let (content, rest) = der.split_at_checked(length)?;
    Some((*kind, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 11, 28);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for year in [1999, 2026, 2049, 2050, 2100] {
            let end = of(&certificate(year)).unwrap();
            assert_eq!(end.to_string(), format!("{year}-11-28T00:00:00Z"));
        }
    }

    #[test]
    fn what_is_cut_off_or_no_certificate_has_no_end() {
        let whole = certificate(2030);
        for length in 0..whole.len() {
            assert_eq!(of(&whole[..length]), None, "{length}");
        }
        for other in [
            &b"\x30\xff\xff"[..],
            b"\x30\x84\xff\xff\xff\xff",
            b"\x02\x01\x00",
        ] {
            assert_eq!(of(other), None);
        }
    }
}
