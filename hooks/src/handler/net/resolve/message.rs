//! DNS messages (RFC 1035, 4): a question for the addresses of a name, and what is in an answer. Pure.
//!
//! Names in answers are passed over and never expanded: whose addresses they are, the server says by answering
//! the question, and the chain of CNAMEs that led to them is its business. So no pointer is followed, and no
//! message can make a loop of them.

use std::net::IpAddr;

/// Kept of one answer.
const MAX_ADDRESSES: usize = 16;
/// The longest name as it stands in a message.
const MAX_NAME: usize = 255;

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
const RECURSION_DESIRED: u16 = 0x0100;
const IS_ANSWER: u16 = 0x8000;
const IS_TRUNCATED: u16 = 0x0200;
const OPCODE: u16 = 0x7800;

/// The families, by their record types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A = 1,
    Aaaa = 28,
}

/// A question, as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Query {
    bytes: Vec<u8>,
    kind: Kind,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    /// There is more than the datagram held: to be asked for over TCP.
    pub(super) truncated: bool,
    pub(super) addresses: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Good,
    NoSuchName,
    /// Every other code, and what is no proper message.
    Bad,
}

impl Query {
    /// None for a name that does not fit into a message.
    pub(super) fn new(id: u16, name: &str, kind: Kind) -> Option<Query> {
        let mut bytes = Vec::with_capacity(name.len().saturating_add(HEADER + 6));
        for field in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
            bytes.extend(field.to_be_bytes());
        }
        for label in name.split('.') {
            let length = u8::try_from(label.len())
                .ok()
                .filter(|l| (1..=63).contains(l))?;
            bytes.push(length);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        if bytes.len() > HEADER + MAX_NAME {
            return None;
        }
        bytes.extend((kind as u16).to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        Some(Query { bytes, kind })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads an answer to this question; none for a message that is none.
    pub(super) fn answer(&self, message: &[u8]) -> Option<Answer> {
        let mut reader = Reader(message);
        let [id, flags, questions, answers, ..] = reader.header()?;
        let own = Reader(&self.bytes).header()?;
        if id != own[0] || flags & IS_ANSWER == 0 || flags & OPCODE != 0 {
            return None;
        }
        let code = match flags & 0xf {
            0 => Code::Good,
            3 => Code::NoSuchName,
            _ => Code::Bad,
        };
        let mut answer = Answer {
            code,
            truncated: flags & IS_TRUNCATED != 0,
            addresses: Vec::new(),
        };
        // A server that does not understand a question need not repeat it.
        if questions == 0 && code == Code::Bad {
            return Some(answer);
        }
        let asked = self.bytes.get(HEADER..)?;
        if questions != 1 || !reader.take(asked.len())?.eq_ignore_ascii_case(asked) {
            return None;
        }
        if code == Code::Good
            && self
                .records(&mut reader, answers, &mut answer.addresses)
                .is_none()
            && !answer.truncated
        {
            answer.code = Code::Bad;
            answer.addresses.clear();
        }
        Some(answer)
    }

    /// The addresses in so many records; none where they are not what they should be.
    fn records(&self, reader: &mut Reader<'_>, count: u16, out: &mut Vec<IpAddr>) -> Option<()> {
        for _ in 0..count {
            reader.skip_name()?;
            let (kind, class) = (reader.number()?, reader.number()?);
            let _seconds_to_live = reader.take(4)?;
            let length = reader.number()?;
            let data = reader.take(usize::from(length))?;
            if (kind, class) != (self.kind as u16, CLASS_IN) || out.len() == MAX_ADDRESSES {
                continue;
            }
            out.push(match self.kind {
                Kind::A => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
                Kind::Aaaa => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
            });
        }
        Some(())
    }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    }

    fn header(&mut self) -> Option<[u16; 6]> {
        let mut fields = [0; 6];
        for field in &mut fields {
            *field = self.number()?;
        }
        Some(fields)
    }

    /// A name ends with an empty part, or with a pointer to the rest of it.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.take(1)?.first()? {
                0 => return Some(()),
                length @ 1..=63 => self.take(usize::from(*length))?,
                0xc0.. => return self.take(1).map(|_| ()),
                _ => return None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query() -> Query {
        Query::new(0x1234, "db.shop", Kind::A).unwrap()
    }

    /// An answer to [`query`] with these flags and records.
    fn message(flags: u16, records: &[&[u8]]) -> Vec<u8> {
        let mut message = query().bytes;
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        message.extend(records.concat());
        message
    }

    /// A record whose name is a pointer to the question's.
    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut record = vec![0xc0, 12];
        record.extend(kind.to_be_bytes());
        record.extend([0, 1, 0, 0, 0, 60]);
        record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        record.extend(data);
        record
    }

    fn good(addresses: &[&str]) -> Option<Answer> {
        Some(Answer {
            code: Code::Good,
            truncated: false,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        })
    }

    #[test]
    fn a_question_is_as_rfc_1035_has_it() {
        assert_eq!(
            query().bytes(),
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x04shop\x00\x00\x01\x00\x01"
        );
        let long = "a".repeat(64);
        let longest = vec!["a".repeat(63); 4].join(".");
        for name in ["", "a..b", ".", "a.", &long, &longest] {
            assert!(Query::new(1, name, Kind::A).is_none(), "{name}");
        }
    }

    #[test]
    fn addresses_behind_a_chain_of_names_are_found() {
        let chain = record(5, b"\x03www\xc0\x0c");
        let (one, other) = (record(1, &[10, 0, 0, 1]), record(1, &[10, 0, 0, 2]));
        let whole = message(0x8180, &[&chain, &one, &record(28, &[0; 16]), &other]);
        assert_eq!(query().answer(&whole), good(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(query().answer(&message(0x8180, &[])), good(&[]));
    }

    #[test]
    fn what_answers_another_question_is_no_answer() {
        let whole = message(0x8180, &[&record(1, &[10, 0, 0, 1])]);
        let changed = |at: usize, to: u8| {
            let mut message = whole.clone();
            message[at] = to;
            query().answer(&message)
        };
        assert_eq!(changed(0, 0), None, "another id");
        assert_eq!(changed(2, 0x01), None, "a question");
        assert_eq!(changed(2, 0xa1), None, "another operation");
        assert_eq!(changed(13, b'x'), None, "another name");
        assert_eq!(changed(23, 28), None, "another type");
        assert_eq!(changed(13, b'D'), good(&["10.0.0.1"]), "case says nothing");
        for length in 0..HEADER + 13 {
            assert_eq!(query().answer(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn the_servers_codes_are_told_apart() {
        let code = |flags| query().answer(&message(flags, &[])).unwrap().code;
        assert_eq!(code(0x8183), Code::NoSuchName);
        for flags in [0x8181, 0x8182, 0x8184, 0x8185] {
            assert_eq!(code(flags), Code::Bad);
        }
        let mut refused = message(0x8185, &[]);
        refused[4..6].fill(0);
        refused.truncate(HEADER);
        assert_eq!(query().answer(&refused).unwrap().code, Code::Bad);
    }

    #[test]
    fn a_broken_record_is_the_servers_fault_unless_it_was_cut() {
        let mut cut = message(
            0x8180,
            &[&record(1, &[10, 0, 0, 1]), &record(1, &[10, 0, 0, 2])],
        );
        cut.truncate(cut.len() - 1);
        assert_eq!(query().answer(&cut).unwrap().code, Code::Bad);
        cut[2] |= 2;
        let answer = query().answer(&cut).unwrap();
        assert!(answer.truncated && answer.code == Code::Good);
        let wrong = message(0x8180, &[&record(1, &[10, 0, 0])]);
        assert_eq!(query().answer(&wrong).unwrap().code, Code::Bad);
    }

    #[test]
    fn a_thousand_addresses_are_not_kept() {
        let one = record(1, &[10, 0, 0, 1]);
        let many = message(0x8180, &vec![&one[..]; 1000]);
        assert_eq!(
            query().answer(&many).unwrap().addresses.len(),
            MAX_ADDRESSES
        );
    }

    proptest! {
        #[test]
        fn no_message_is_the_end_of_the_shim(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = query().answer(&bytes);
        }

        #[test]
        fn no_change_of_an_answer_is_either(at in 0usize..90, to: u8, cut in 0usize..90) {
            let mut whole = message(0x8180, &[
                &record(5, b"\x03www\xc0\x0c"), &record(1, &[10, 0, 0, 1]), &record(28, &[1; 16]),
            ]);
            let at = at % whole.len();
            whole[at] = to;
            whole.truncate(cut);
            if let Some(answer) = query().answer(&whole) {
                prop_assert!(answer.addresses.len() <= 3);
            }
        }

        #[test]
        fn any_name_is_encoded_or_refused(name in ".{0,300}") {
            if let Some(query) = Query::new(7, &name, Kind::Aaaa) {
                prop_assert!(query.bytes().len() <= HEADER + MAX_NAME + 4);
            }
        }
    }
}
