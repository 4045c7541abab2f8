//! The little of SPDY/3.1 that an exec stream needs, client side.
//!
//! CRI streaming servers speak SPDY (the vendored `moby/spdystream`) and WebSocket. Only SPDY can
//! close stdin alone (`v4.channel.k8s.io` over WebSocket cannot), which `exec -i` needs for
//! `… | podhook exec -i POD -- cat` to end. spdystream has no flow control.
//!
//! Header blocks are sent as stored deflate blocks: valid zlib, so no compressor is needed.
//! Header blocks that come in are skipped: an exec needs nothing from them.

use tokio::io::{AsyncRead, AsyncReadExt};

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;
/// A frame's length is 24 bits.
const MAX_LENGTH: usize = 0x00ff_ffff;

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Bytes of a stream; `fin`: the last ones.
    Data {
        stream: u32,
        fin: bool,
        bytes: Vec<u8>,
    },
    /// The stream is gone.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// The server will end the connection.
    GoAway,
    /// A frame that needs no action (replies, settings, window updates).
    Other,
}

/// Builds frames. One per connection: zlib's stream header goes into the first block only.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    started: bool,
}

impl Encoder {
    /// Opens `stream` with one header.
    pub(super) fn syn_stream(&mut self, stream: u32, name: &str, value: &str) -> Vec<u8> {
        let mut block = Vec::new();
        block.extend(1u32.to_be_bytes());
        for text in [name, value] {
            // Lengths of the few names used here are tiny.
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        }
        let header = self.stored(&block);
        let mut body = Vec::with_capacity(header.len().saturating_add(10));
        body.extend(stream.to_be_bytes());
        body.extend([0; 6]); // no associated stream, priority 0, slot 0
        body.extend(header);
        control(SYN_STREAM, &body)
    }

    /// A zlib stream of stored blocks, flushed: an empty block makes the reader hand the data on.
    fn stored(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len().saturating_add(12));
        if !self.started {
            out.extend([0x78, 0x01]);
            self.started = true;
        }
        for chunk in [block, &[]] {
            let length = chunk.len() as u16;
            out.push(0);
            out.extend(length.to_le_bytes());
            out.extend((!length).to_le_bytes());
            out.extend(chunk);
        }
        out
    }
}

/// A data frame; `fin` closes this side of the stream.
pub(super) fn data(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    debug_assert!(bytes.len() <= MAX_LENGTH);
    let mut frame = Vec::with_capacity(bytes.len().saturating_add(8));
    frame.extend((stream & 0x7fff_ffff).to_be_bytes());
    frame.extend(flags_and_length(
        if fin { FLAG_FIN } else { 0 },
        bytes.len(),
    ));
    frame.extend(bytes);
    frame
}

/// The answer to a ping.
pub(super) fn ping(id: u32) -> Vec<u8> {
    control(PING, &id.to_be_bytes())
}

fn control(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len().saturating_add(8));
    frame.extend((VERSION | 0x8000).to_be_bytes());
    frame.extend(kind.to_be_bytes());
    frame.extend(flags_and_length(0, body.len()));
    frame.extend(body);
    frame
}

fn flags_and_length(flags: u8, length: usize) -> [u8; 4] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    [flags, a, b, c]
}

/// Reads one frame; `None` at the end of the connection.
pub(super) async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> std::io::Result<Option<Frame>> {
    let mut head = [0; 8];
    match reader.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let [a, b, c, d, flags, e, f, g] = head;
    let mut body = vec![0; u32::from_be_bytes([0, e, f, g]) as usize];
    reader.read_exact(&mut body).await?;
    if a & 0x80 == 0 {
        return Ok(Some(Frame::Data {
            stream: u32::from_be_bytes([a, b, c, d]),
            fin: flags & FLAG_FIN != 0,
            bytes: body,
        }));
    }
    let id = body
        .first_chunk()
        .map_or(0, |word: &[u8; 4]| u32::from_be_bytes(*word));
    Ok(Some(match u16::from_be_bytes([c, d]) {
        RST_STREAM => Frame::Reset { stream: id },
        PING => Frame::Ping { id },
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_blocks_are_one_zlib_stream_over_the_connection() {
        let mut encoder = Encoder::default();
        let first = encoder.syn_stream(1, "streamtype", "error");
        let second = encoder.syn_stream(3, "streamtype", "stdin");
        assert_eq!(first[..4], [0x80, 3, 0, 1]);
        assert_eq!(
            first[18..20],
            [0x78, 0x01],
            "zlib header in the first block"
        );
        assert_eq!(second[18], 0, "and not in the next");
        assert_eq!(first[first.len() - 5..], [0, 0, 0, 0xff, 0xff], "flushed");
        let length = u32::from_be_bytes([0, first[5], first[6], first[7]]) as usize;
        assert_eq!(length, first.len() - 8);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn frames_are_read_one_after_another() {
        let mut wire = data(5, b"hello", false);
        wire.extend(data(5, b"", true));
        wire.extend(ping(2));
        wire.extend(control(RST_STREAM, &[0, 0, 0, 7, 0, 0, 0, 1]));
        let mut reader = wire.as_slice();
        let mut frames = Vec::new();
        while let Some(frame) = read(&mut reader).await.unwrap() {
            frames.push(frame);
        }
        let data = |fin, bytes: &[u8]| Frame::Data {
            stream: 5,
            fin,
            bytes: bytes.to_vec(),
        };
        assert_eq!(
            frames,
            [
                data(false, b"hello"),
                data(true, b""),
                Frame::Ping { id: 2 },
                Frame::Reset { stream: 7 }
            ]
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_connection_cut_inside_a_frame_is_an_error() {
        let wire = data(5, b"hello", false);
        assert!(read(&mut &wire[..10]).await.is_err());
    }
}
