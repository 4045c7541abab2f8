//! One call over gRPC (HTTP/2, RFC 9113) on a connection of its own: enough to ask containerd a question. A library for
//! it would be a third of the shim.

use std::io;
use std::path::Path;

use containerd_shim_protos::protobuf::{self, CodedInputStream, rt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Flags of frames.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The stream of the one call.
const STREAM: u32 = 1;
/// The largest payload that a peer may send unasked.
const FRAME_LIMIT: usize = 1 << 14;
/// The largest answer; the window is as large, so that the peer never waits for more of it.
const ANSWER_LIMIT: u32 = 4 << 20;
/// What a window has from the beginning.
const FIRST_WINDOW: u32 = 65_535;

/// The values of a field that is text, bytes or a message.
pub(crate) fn fields(message: &[u8], number: u32) -> protobuf::Result<Vec<Vec<u8>>> {
    const LENGTH_DELIMITED: u32 = 2;
    let mut input = CodedInputStream::from_bytes(message);
    let mut found = Vec::new();
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        if tag == number << 3 | LENGTH_DELIMITED {
            found.push(input.read_bytes()?);
        } else {
            rt::skip_field_for_tag(tag, &mut input)?;
        }
    }
    Ok(found)
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// Calls a unary method and returns its answer's message.
pub(crate) async fn call(
    socket: &Path,
    method: &str,
    metadata: &[(&str, &str)],
    message: &[u8],
) -> io::Result<Vec<u8>> {
    let mut connection = UnixStream::connect(socket).await?;
    connection
        .write_all(&request(method, metadata, message))
        .await?;
    let mut body = Vec::new();
    loop {
        let frame = read(&mut connection).await?;
        match (frame.kind, frame.stream) {
            (DATA, STREAM) => {
                body.extend_from_slice(data(&frame)?);
                if body.len() > ANSWER_LIMIT as usize {
                    return Err(invalid("the answer is too large"));
                }
            }
            (SETTINGS | PING, 0) if frame.flags & ACK == 0 => {
                let answer = match frame.kind {
                    PING => frame.payload.as_slice(),
                    _ => &[],
                };
                connection
                    .write_all(&encode(frame.kind, ACK, 0, answer))
                    .await?;
                continue;
            }
            (RESET, STREAM) | (GO_AWAY, 0) => return Err(invalid("the call was refused")),
            (HEADERS, STREAM) => {}
            _ => continue,
        }
        if frame.flags & END_STREAM != 0 {
            return unwrap(&body);
        }
    }
}

/// All that is sent unasked: the connection's beginning and the whole call.
fn request(method: &str, metadata: &[(&str, &str)], message: &[u8]) -> Vec<u8> {
    const ENABLE_PUSH: u16 = 2;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings = [
        setting(ENABLE_PUSH, 0),
        setting(INITIAL_WINDOW_SIZE, ANSWER_LIMIT),
    ]
    .concat();
    let more = (ANSWER_LIMIT - FIRST_WINDOW).to_be_bytes();
    let mut headers = Vec::new();
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fixed.iter().chain(metadata) {
        // HPACK (RFC 7541): a literal that is not indexed, with a new name.
        headers.push(0);
        push_text(&mut headers, name);
        push_text(&mut headers, value);
    }
    [
        PREFACE,
        &encode(SETTINGS, 0, 0, &settings),
        &encode(WINDOW_UPDATE, 0, 0, &more),
        &encode(HEADERS, END_HEADERS, STREAM, &headers),
        &encode(DATA, END_STREAM, STREAM, &wrap(message)),
    ]
    .concat()
}

/// HPACK's text without Huffman's code: the length in seven bits and, where that is not enough, further ones.
fn push_text(out: &mut Vec<u8>, text: &str) {
    const FULL: usize = 0x7f;
    let length = text.len();
    if length < FULL {
        out.push(length as u8);
    } else {
        out.push(FULL as u8);
        let mut rest = length.saturating_sub(FULL);
        while rest >= 0x80 {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

async fn read(connection: &mut UnixStream) -> io::Result<Frame> {
    let mut head = [0; 9];
    connection.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > FRAME_LIMIT {
        return Err(invalid("a frame is too large"));
    }
    let mut payload = vec![0; length];
    connection.read_exact(&mut payload).await?;
    Ok(Frame {
        kind,
        flags,
        // The first bit means nothing.
        stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        payload,
    })
}

/// What a DATA frame carries, without its padding.
fn data(frame: &Frame) -> io::Result<&[u8]> {
    if frame.flags & PADDED == 0 {
        return Ok(&frame.payload);
    }
    let padded = frame.payload.split_first().and_then(|(padding, rest)| {
        let length = rest.len().checked_sub(usize::from(*padding))?;
        rest.get(..length)
    });
    padded.ok_or_else(|| invalid("a frame's padding is longer than the frame"))
}

/// A message as gRPC sends it: not compressed, its length before it.
fn wrap(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// The message in an answer. One without is an error, whose words are in headers that are not read here.
fn unwrap(body: &[u8]) -> io::Result<Vec<u8>> {
    let message = body.split_first_chunk::<5>().and_then(|(head, message)| {
        let [compressed, length @ ..] = *head;
        let whole = message.len() == u32::from_be_bytes(length) as usize;
        (compressed == 0 && whole).then(|| message.to_vec())
    });
    message.ok_or_else(|| invalid("the answer has no message"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_has_a_long_length() {
        let length = |text: usize| {
            let mut out = Vec::new();
            push_text(&mut out, &"x".repeat(text));
            out.truncate(out.len() - text);
            out
        };
        assert_eq!(length(126), [126]);
        assert_eq!(length(127), [127, 0]);
        // RFC 7541, C.1.2 with another prefix: 1337 - 127 = 1210.
        assert_eq!(length(1337), [127, 0xba, 0x09]);
    }

    #[test]
    fn padding_is_no_data() {
        let frame = |payload: &[u8]| Frame {
            kind: DATA,
            flags: PADDED,
            stream: STREAM,
            payload: payload.to_vec(),
        };
        assert_eq!(data(&frame(b"\x02abcd")).unwrap(), b"ab");
        assert!(data(&frame(b"\x05abcd")).is_err());
        assert!(data(&frame(b"")).is_err());
    }

    #[test]
    fn only_a_whole_message_is_an_answer() {
        assert_eq!(unwrap(&wrap(b"abc")).unwrap(), b"abc");
        for wrong in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x04abc",
            b"\x01\0\0\0\x03abc",
        ] {
            assert!(unwrap(wrong).is_err(), "{wrong:?}");
        }
    }

    /// A server that says all this, whatever it is asked.
    async fn answer(frames: Vec<Vec<u8>>) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // It may be gone before the end.
            let _ = stream.write_all(&frames.concat()).await;
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        };
        let (answer, ()) = tokio::join!(call(&path, "/a/b", &[], b"question"), server);
        answer
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_answer_comes_among_frames_of_all_kinds() {
        let message = wrap(b"an answer");
        let frames = vec![
            encode(SETTINGS, 0, 0, b""),
            encode(SETTINGS, ACK, 0, b""),
            encode(PING, 0, 0, b"12345678"),
            encode(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
            encode(HEADERS, END_HEADERS, STREAM, b"\x88"),
            encode(DATA, 0, STREAM, &message[..7]),
            encode(DATA, 0, STREAM, &message[7..]),
            encode(0xfe, 0, STREAM, b"of a later time"),
            encode(HEADERS, END_HEADERS | END_STREAM, STREAM, b"\x88"),
        ];
        assert_eq!(answer(frames).await.unwrap(), b"an answer");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_refusal_is_an_error() {
        for frame in [
            encode(HEADERS, END_HEADERS | END_STREAM, STREAM, b"\x88"),
            encode(RESET, 0, STREAM, &[0, 0, 0, 7]),
            encode(GO_AWAY, 0, 0, &[0; 8]),
            vec![0xff; 9],
            vec![],
        ] {
            assert!(answer(vec![frame]).await.is_err());
        }
    }
}
