//! Running a command in a container over CRI's exec stream.

use std::pin::Pin;

use k8s_cri::v1::ExecRequest;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::client::{Client, Error as CriError};
use super::spdy::{self, Encoder, Frame};
use super::tls;

const ERROR: u32 = 1;
const STDIN: u32 = 3;
const STDOUT: u32 = 5;
const STDERR: u32 = 7;
const RESIZE: u32 = 9;
/// `v4.channel.k8s.io`: the error stream ends with a JSON `Status` that carries the exit code.
const PROTOCOL: &str = "v4.channel.k8s.io";
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// What can go wrong on the stream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime's streaming server has an address that this client does not speak to.
    #[error("unsupported address of containerd's stream server: {0}")]
    Url(String),
    /// No connection to the streaming server.
    #[error("cannot connect to containerd's stream server at {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        source: std::io::Error,
    },
    /// No TLS with it.
    #[error("TLS with containerd's stream server at {address}: {source}")]
    Tls {
        /// Host and port.
        address: String,
        source: std::io::Error,
    },
    /// The server did not switch to SPDY.
    #[error("unable to upgrade connection: {0}")]
    Upgrade(String),
    /// The connection broke.
    #[error("exec stream: {0}")]
    Io(#[from] std::io::Error),
    /// The command did not run.
    #[error("{0}")]
    Failed(String),
    /// The connection ended before the exit code came.
    #[error("exec stream ended without an exit status")]
    NoStatus,
}

/// The size of a terminal, as the resize stream has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// Where the command's input comes from and its output goes to.
pub struct Streams<'a> {
    /// `None`: the command has no stdin.
    pub stdin: Option<Pin<Box<dyn AsyncRead + 'a>>>,
    /// The command's stdout; with a terminal, everything.
    pub stdout: Pin<Box<dyn AsyncWrite + 'a>>,
    /// The command's stderr.
    pub stderr: Pin<Box<dyn AsyncWrite + 'a>>,
    /// With a terminal: its size, at first and at every change.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Client {
    /// Runs `command` in a running container and returns its exit code.
    ///
    /// A terminal is allocated when `streams.resize` is set.
    ///
    /// # Errors
    /// When the command could not be started, or the stream broke.
    pub async fn exec(
        &self,
        container_id: &str,
        command: &[String],
        streams: Streams<'_>,
    ) -> Result<i32, CriError> {
        let tty = streams.resize.is_some();
        let request = ExecRequest {
            container_id: container_id.to_owned(),
            cmd: command.to_vec(),
            tty,
            stdin: streams.stdin.is_some(),
            stdout: true,
            stderr: !tty,
        };
        let url = self
            .runtime
            .clone()
            .exec(request)
            .await
            .map_err(CriError::call("Exec"))?
            .into_inner()
            .url;
        let connection = upgrade(&url).await?;
        Ok(Session::run(connection, streams, tty).await?)
    }
}

/// A connection to the streaming server.
trait Connection: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Connection for T {}

type BoxedConnection = Pin<Box<dyn Connection>>;

/// Connects to the server that a URL names; gives the URL's host and path too.
async fn connect(url: &str) -> Result<(BoxedConnection, &str, &str), Error> {
    let plain = url.strip_prefix("http://");
    let rest = plain
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| Error::Url(url.to_owned()))?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let refused = |source| Error::Connect {
        address: address.to_owned(),
        source,
    };
    let connection = TcpStream::connect(address).await.map_err(refused)?;
    connection.set_nodelay(true)?;
    if plain.is_some() {
        return Ok((Box::pin(connection), address, path));
    }
    let peer = connection.peer_addr()?;
    let secured = tls::handshake(connection, peer).await;
    let connection = secured.map_err(|source| Error::Tls {
        address: address.to_owned(),
        source,
    })?;
    Ok((Box::pin(connection), address, path))
}

/// Asks the streaming server for SPDY, as kubectl does (apimachinery `httpstream/spdy`).
async fn upgrade(url: &str) -> Result<BoxedConnection, Error> {
    let (mut connection, address, path) = connect(url).await?;
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {PROTOCOL}\r\nContent-Length: 0\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    connection.flush().await?;
    let head = response_head(&mut connection).await?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("101") {
        Ok(connection)
    } else {
        Err(Error::Upgrade(status.to_owned()))
    }
}

/// The response up to the empty line, and not a byte more: SPDY follows at once.
async fn response_head(connection: &mut BoxedConnection) -> Result<String, Error> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_RESPONSE_HEAD {
            return Err(Error::Upgrade("response header too long".to_owned()));
        }
        head.push(connection.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The streams of one exec while it runs.
struct Session<'a> {
    streams: Streams<'a>,
    /// What the error stream has brought so far.
    status: Vec<u8>,
    /// The streams that the server has not ended yet.
    open: Vec<u32>,
}

impl<'a> Session<'a> {
    async fn run(
        connection: BoxedConnection,
        mut streams: Streams<'a>,
        tty: bool,
    ) -> Result<i32, Error> {
        let (mut reader, writer) = tokio::io::split(connection);
        let stdin = streams.stdin.take();
        let resize = streams.resize.take();
        let (to_server, frames) = mpsc::channel(16);
        let mut open = vec![ERROR, STDOUT];
        if !tty {
            open.push(STDERR);
        }
        let hello = open_streams(stdin.is_some(), tty);
        let mut session = Session {
            streams,
            status: Vec::new(),
            open,
        };
        let mut sending = std::pin::pin!(send(writer, hello, frames));
        let mut feeding = std::pin::pin!(feed(stdin, to_server.clone()));
        let mut resizing = std::pin::pin!(resizes(resize, to_server.clone()));
        let (mut sent, mut fed, mut resized) = (false, false, false);
        // `reading` outlives a turn of the inner loop: a frame half read must not be dropped.
        loop {
            let mut reading = std::pin::pin!(spdy::read(&mut reader));
            let frame = loop {
                tokio::select! {
                    frame = &mut reading => match frame {
                        // A connection torn down after the status is an ordinary end.
                        Err(_) if !session.status.is_empty() => break None,
                        frame => break frame?,
                    },
                    // The server may stop reading before it has said the last word.
                    _ = &mut sending, if !sent => sent = true,
                    () = &mut feeding, if !fed => fed = true,
                    () = &mut resizing, if !resized => resized = true,
                }
            };
            match frame {
                None | Some(Frame::GoAway) => break,
                Some(Frame::Ping { id }) => {
                    // The channel is full only when stdin is: the server's ping can be lost then.
                    let _ = to_server.try_send(spdy::ping(id));
                }
                Some(frame) => session.receive(frame).await?,
            }
            if session.open.is_empty() {
                break;
            }
        }
        session.streams.stdout.flush().await?;
        session.streams.stderr.flush().await?;
        exit_code(&session.status)
    }

    async fn receive(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Data { stream, fin, bytes } => {
                match stream {
                    STDOUT => {
                        self.streams.stdout.write_all(&bytes).await?;
                        self.streams.stdout.flush().await?;
                    }
                    STDERR => {
                        self.streams.stderr.write_all(&bytes).await?;
                        self.streams.stderr.flush().await?;
                    }
                    ERROR => self.status.extend(bytes),
                    _ => {}
                }
                if fin {
                    self.close(stream);
                }
            }
            Frame::Reset { stream } => self.close(stream),
            Frame::Ping { .. } | Frame::GoAway | Frame::Other => {}
        }
        Ok(())
    }

    fn close(&mut self, stream: u32) {
        self.open.retain(|s| *s != stream);
    }
}

fn open_streams(stdin: bool, tty: bool) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut frames = encoder.syn_stream(ERROR, "streamtype", "error");
    if stdin {
        frames.extend(encoder.syn_stream(STDIN, "streamtype", "stdin"));
    }
    frames.extend(encoder.syn_stream(STDOUT, "streamtype", "stdout"));
    if tty {
        frames.extend(encoder.syn_stream(RESIZE, "streamtype", "resize"));
    } else {
        frames.extend(encoder.syn_stream(STDERR, "streamtype", "stderr"));
    }
    frames
}

async fn send(
    mut writer: WriteHalf<BoxedConnection>,
    hello: Vec<u8>,
    mut frames: mpsc::Receiver<Vec<u8>>,
) -> std::io::Result<()> {
    writer.write_all(&hello).await?;
    writer.flush().await?;
    while let Some(frame) = frames.recv().await {
        writer.write_all(&frame).await?;
        // TLS keeps what is not flushed.
        writer.flush().await?;
    }
    Ok(())
}

/// stdin to the server, and its end.
async fn feed(stdin: Option<Pin<Box<dyn AsyncRead + '_>>>, to_server: mpsc::Sender<Vec<u8>>) {
    let Some(mut stdin) = stdin else { return };
    let mut buffer = vec![0; 32 * 1024];
    loop {
        // An unreadable stdin is an ended one, as for kubectl.
        let count = stdin.read(&mut buffer).await.unwrap_or(0);
        let frame = spdy::data(STDIN, buffer.get(..count).unwrap_or_default(), count == 0);
        if to_server.send(frame).await.is_err() || count == 0 {
            return;
        }
    }
}

async fn resizes(sizes: Option<mpsc::Receiver<TerminalSize>>, to_server: mpsc::Sender<Vec<u8>>) {
    let Some(mut sizes) = sizes else { return };
    while let Some(size) = sizes.recv().await {
        let Ok(json) = serde_json::to_vec(&size) else {
            return;
        };
        if to_server
            .send(spdy::data(RESIZE, &json, false))
            .await
            .is_err()
        {
            return;
        }
    }
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// The `metav1.Status` of the error stream (apimachinery `remotecommand.NonZeroExitCodeReason`).
fn exit_code(status: &[u8]) -> Result<i32, Error> {
    if status.is_empty() {
        return Err(Error::NoStatus);
    }
    let text = || String::from_utf8_lossy(status).trim().to_owned();
    let status: Status = serde_json::from_slice(status).map_err(|_| Error::Failed(text()))?;
    if status.status == "Success" {
        return Ok(0);
    }
    if status.reason == "NonZeroExitCode" {
        let code = status
            .details
            .iter()
            .flat_map(|d| &d.causes)
            .find(|c| c.reason == "ExitCode")
            .and_then(|c| c.message.parse().ok());
        if let Some(code) = code {
            return Ok(code);
        }
    }
    Err(Error::Failed(status.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_in_the_causes_of_the_status() {
        let failure = br#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3",
            "reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        assert_eq!(exit_code(failure).unwrap(), 3);
        assert_eq!(
            exit_code(br#"{"metadata":{},"status":"Success"}"#).unwrap(),
            0
        );
    }

    #[test]
    fn a_command_that_did_not_run_is_an_error_with_the_runtimes_text() {
        let failure = br#"{"status":"Failure","message":"exec: \"nope\": executable file not found","reason":"InternalError"}"#;
        let error = exit_code(failure).unwrap_err();
        assert_eq!(
            error.to_string(),
            "exec: \"nope\": executable file not found"
        );
    }

    /// A stream server with a certificate of its own, for one exec that prints "hi" and ends with 3.
    async fn tls_server(listener: tokio::net::TcpListener) -> Result<(), Error> {
        let key = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der())
                    .unwrap(),
            )
            .unwrap();
        let (stream, _) = listener.accept().await?;
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let mut stream: BoxedConnection = Box::pin(acceptor.accept(stream).await?);
        let request = response_head(&mut stream).await?;
        assert!(
            request.starts_with("POST /exec/token HTTP/1.1\r\n"),
            "{request}"
        );
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        answer.extend(spdy::data(STDOUT, b"hi", true));
        answer.extend(spdy::data(STDERR, b"", true));
        let status = br#"{"status":"Failure","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        answer.extend(spdy::data(ERROR, status, true));
        stream.write_all(&answer).await?;
        stream.flush().await?;
        // Until the client has had enough.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        Ok(())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_exec_over_tls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("https://{address}/exec/token");
        let exec = async {
            let mut out = Vec::new();
            let streams = Streams {
                stdin: None,
                stdout: Box::pin(&mut out),
                stderr: Box::pin(tokio::io::sink()),
                resize: None,
            };
            let code = Session::run(upgrade(&url).await?, streams, false).await?;
            Ok::<_, Error>((code, out))
        };
        let (served, done) = tokio::join!(tls_server(listener), exec);
        served.unwrap();
        assert_eq!(done.unwrap(), (3, b"hi".to_vec()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_server_without_tls_at_a_tls_address_is_an_error_and_no_hang() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("https://{address}/exec/token");
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\nClient sent no HTTP";
            stream.write_all(answer).await.unwrap();
        };
        let (error, ()) = tokio::join!(upgrade(&url), serve);
        let error = error.err().unwrap().to_string();
        assert!(
            error.starts_with(&format!(
                "TLS with containerd's stream server at {address}: "
            )),
            "{error}"
        );
    }

    #[test]
    fn a_stream_that_ends_without_a_status_is_not_success() {
        assert!(matches!(exit_code(b""), Err(Error::NoStatus)));
    }
}
