//! What a connection may have outstanding: requests that are not answered, and answers that are not read. ttrpc takes
//! whatever a client sends; each request costs a task, and what waits for a client that never reads stays.
//!
//! The shim sees the bytes of a connection before ttrpc does, and counts the frames. A client with too much
//! outstanding is not read from, between two frames, until it has been answered.

use std::collections::HashMap;
use std::task::Waker;

/// The most requests of one connection. More than there are containers and execs to wait for; about 15 MB.
pub const REQUESTS_MAX: usize = 8192;
/// The most bytes in those that are large, but for the last.
const BYTES_MAX: usize = 8 << 20;
/// A large request. Of others the number is limit enough.
const LARGE: usize = 1 << 10;
/// A number of requests that costs memory worth giving back.
const MANY: usize = 256;

/// A frame's header: length, stream, type, flags.
const HEADER: usize = 10;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// Answered by an error, since there are no streams here.
const DATA: u8 = 3;

/// What one connection has outstanding.
#[derive(Default)]
pub struct Outstanding {
    read: Frames,
    written: Frames,
    requests: usize,
    /// The most of them lately.
    peak: usize,
    /// The large ones by their stream.
    large: HashMap<u32, usize>,
    bytes: usize,
    /// An answer waits to be read.
    unread: bool,
    reader: Option<Waker>,
}

impl Outstanding {
    /// Whether more may be read now. Where not, `waker` is woken when that changes.
    pub fn may_read(&mut self, waker: &Waker) -> bool {
        if !self.is_full() {
            return true;
        }
        self.reader = Some(waker.clone());
        false
    }

    fn is_full(&self) -> bool {
        // A frame that has begun is read to its end: it may be what is waited for.
        let much = self.requests >= REQUESTS_MAX || self.bytes >= BYTES_MAX;
        self.read.is_between() && (much || self.unread)
    }

    /// These bytes have come.
    pub fn was_read(&mut self, bytes: &[u8]) {
        let Self { read, large, .. } = self;
        let (requests, size) = (&mut self.requests, &mut self.bytes);
        read.pass(bytes, |kind, stream, length| {
            if matches!(kind, REQUEST | DATA) {
                *requests = requests.saturating_add(1);
                if length >= LARGE {
                    *size = size.saturating_add(length);
                    *size = size.saturating_sub(large.insert(stream, length).unwrap_or(0));
                }
            }
        });
        self.peak = self.peak.max(self.requests);
    }

    /// These bytes have gone; whether most of many requests are answered by now.
    pub fn was_written(&mut self, bytes: &[u8]) -> bool {
        let Self { written, large, .. } = self;
        let (requests, size) = (&mut self.requests, &mut self.bytes);
        written.pass(bytes, |kind, stream, _| {
            if kind == RESPONSE {
                *requests = requests.saturating_sub(1);
                *size = size.saturating_sub(large.remove(&stream).unwrap_or(0));
            }
        });
        self.unread = false;
        self.wake();
        let were_many = self.peak > MANY && self.requests < self.peak / 4;
        if were_many {
            self.peak = self.requests;
            self.large.shrink_to_fit();
        }
        were_many
    }

    /// Whether memory is worth giving back when the connection ends.
    pub fn were_many(&self) -> bool {
        self.peak > MANY
    }

    /// The client does not read.
    pub fn is_unread(&mut self) {
        self.unread = true;
    }

    fn wake(&mut self) {
        if !self.is_full()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

/// Finds the frames in a stream of bytes.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER],
    /// As much of it as there is.
    known: usize,
    /// What is to come of the frame's body.
    body: usize,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.known == 0 && self.body == 0
    }

    /// Calls `begun` with type, stream and length of each frame whose header ends in `bytes`.
    fn pass(&mut self, mut bytes: &[u8], mut begun: impl FnMut(u8, u32, usize)) {
        while !bytes.is_empty() {
            let taken = if self.body > 0 {
                let taken = self.body.min(bytes.len());
                self.body = self.body.saturating_sub(taken);
                taken
            } else {
                let room = self.header.get_mut(self.known..).unwrap_or_default();
                let taken = room.len().min(bytes.len());
                for (room, byte) in room.iter_mut().zip(bytes) {
                    *room = *byte;
                }
                self.known = self.known.saturating_add(taken);
                if self.known == HEADER {
                    let [a, b, c, d, e, f, g, h, kind, _] = self.header;
                    self.body = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.known = 0;
                    begun(kind, u32::from_be_bytes([e, f, g, h]), self.body);
                }
                taken
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        frame.extend([0, 0, 0, 1, kind, 0]);
        frame.resize(HEADER + length, 7);
        frame
    }

    fn may_read(outstanding: &mut Outstanding) -> bool {
        outstanding.may_read(Waker::noop())
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let stream = [frame(1, 3), frame(2, 0), frame(3, 40)].concat();
        for size in 1..stream.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for part in stream.chunks(size) {
                frames.pass(part, |kind, _, length| found.push((kind, length)));
            }
            assert_eq!(found, [(1, 3), (2, 0), (3, 40)]);
            assert!(frames.is_between());
        }
    }

    #[test]
    fn requests_are_read_up_to_a_number_and_on_when_one_is_answered() {
        let mut outstanding = Outstanding::default();
        for _ in 0..REQUESTS_MAX {
            assert!(may_read(&mut outstanding));
            outstanding.was_read(&frame(REQUEST, 5));
        }
        assert!(!may_read(&mut outstanding));
        outstanding.was_written(&frame(RESPONSE, 5));
        assert!(may_read(&mut outstanding));
    }

    #[test]
    fn large_requests_are_few() {
        let mut outstanding = Outstanding::default();
        outstanding.was_read(&frame(REQUEST, BYTES_MAX));
        assert!(!may_read(&mut outstanding));
        outstanding.was_written(&frame(RESPONSE, 5));
        assert!(may_read(&mut outstanding));
    }

    #[test]
    fn a_request_that_stays_does_not_make_the_others_add_up() {
        let mut outstanding = Outstanding::default();
        outstanding.was_read(&frame(REQUEST, 5));
        for _ in 0..10 {
            outstanding.was_read(&frame(REQUEST, BYTES_MAX - 1));
            assert!(may_read(&mut outstanding));
            outstanding.was_written(&frame(RESPONSE, 5));
        }
    }

    #[test]
    fn a_frame_that_has_begun_is_read_to_its_end() {
        let mut outstanding = Outstanding::default();
        let last = frame(REQUEST, BYTES_MAX);
        let (begin, end) = last.split_at(HEADER + 1);
        outstanding.was_read(begin);
        outstanding.is_unread();
        assert!(may_read(&mut outstanding));
        outstanding.was_read(end);
        assert!(!may_read(&mut outstanding));
    }

    #[test]
    fn who_does_not_read_its_answers_is_not_read_from() {
        let mut outstanding = Outstanding::default();
        outstanding.was_read(&frame(REQUEST, 5));
        outstanding.is_unread();
        assert!(!may_read(&mut outstanding));
        outstanding.was_written(&frame(RESPONSE, 5)[..4]);
        assert!(may_read(&mut outstanding));
    }
}
