//! containerd's own version, asked of it.

use std::io;
use std::path::Path;

use super::grpc;

const VERSION: &str = "/containerd.services.version.v1.Version/Version";

/// Major and minor version of the containerd at `socket`; `None` where it does not say them.
pub async fn ask(socket: &Path) -> io::Result<Option<(u32, u32)>> {
    let answer = grpc::call(socket, VERSION, &[], b"").await?;
    Ok(read(&answer))
}

/// `VersionResponse`: its first field is the version.
fn read(answer: &[u8]) -> Option<(u32, u32)> {
    const FIELD_1_TEXT: u8 = 0x0a;
    let (&field, rest) = answer.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let text = rest.get(..usize::from(length))?;
    // A longer text has a length of two bytes.
    let is_version = field == FIELD_1_TEXT && length < 0x80;
    is_version.then(|| parse(std::str::from_utf8(text).ok()?))?
}

/// As distributions write it: `v2.3.7`, `2.4.2+unknown`, `1.6.20~ds1`.
fn parse(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .trim_start_matches('v')
        .split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_as_distributions_write_it() {
        let answer = |text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            [&[0x0a, length], text.as_bytes(), b"\x12\x03abc"].concat()
        };
        for (text, version) in [
            ("v2.3.7", Some((2, 3))),
            ("2.4.2+unknown", Some((2, 4))),
            ("1.6.20~ds1", Some((1, 6))),
            ("2.4", Some((2, 4))),
            ("2", None),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(read(&answer(text)), version, "{text}");
        }
        for broken in [&b""[..], b"\x0a", b"\x0a\x09v2", b"\x12\x032.4"] {
            assert_eq!(read(broken), None, "{broken:?}");
        }
    }
}
