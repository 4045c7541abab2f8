//! What a name is looked up with, for `fuzz/`: the image's files, and a name server's answer.

use super::conf::Conf;
use super::hosts;
use super::message::{Kind, Query};

/// `hosts` and `resolv.conf` of an image, and the answer of one of its servers.
pub fn names(name: &str, files: &str, message: &[u8]) {
    assert!(hosts::lookup(files, name).len() <= 16);
    let conf = Conf::parse(files);
    assert!((1..=3).contains(&conf.servers.len()));
    assert!((1..=5).contains(&conf.attempts) && (1..=30).contains(&conf.timeout.as_secs()));
    for candidate in conf.candidates(name) {
        for kind in [Kind::A, Kind::Aaaa] {
            let Some(query) = Query::new(0x1234, &candidate, kind) else {
                continue;
            };
            // A message that could be the answer: it has the question's own beginning.
            let mut answer = query.bytes().to_vec();
            answer[2] |= 0x80;
            answer.extend_from_slice(message);
            for message in [message, &answer] {
                if let Some(answer) = query.answer(message) {
                    assert!(
                        answer
                            .addresses
                            .iter()
                            .all(|ip| ip.is_ipv6() == (kind == Kind::Aaaa))
                    );
                }
            }
        }
    }
}
