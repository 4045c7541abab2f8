//! The streams of CRI's `Exec`, `Attach` and `PortForward` over WebSocket, subprotocol `v4.channel.k8s.io`: each
//! message is one byte of channel number and the data.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use crate::wait::scaled;

/// A stream that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or one that broke.
    #[error("stream {url}: {reason}")]
    Broken {
        /// containerd's URL.
        url: String,
        reason: String,
    },
    /// What was waited for did not come; with all that came.
    #[error("{what}: not within {limit:?}; stdout {stdout:?}, stderr {stderr:?}, error {error:?}")]
    TooLate {
        what: String,
        limit: Duration,
        /// Output so far.
        stdout: String,
        /// Errors so far.
        stderr: String,
        error: String,
    },
}

/// A connection with what it has brought so far.
#[derive(Debug)]
pub struct Stream {
    url: String,
    socket: WebSocket<TcpStream>,
    /// By channel number.
    seen: [Vec<u8>; 4],
    ended: bool,
}

const STDIN: u8 = 0;
const STDOUT: usize = 1;
const STDERR: usize = 2;
const ERROR: usize = 3;
const RESIZE: u8 = 4;

impl Stream {
    /// Connects to a URL that containerd has handed out.
    ///
    /// # Errors
    /// When containerd does not answer or not with WebSocket.
    pub fn connect(url: &str) -> Result<Self, Error> {
        let broken = |reason: String| Error::Broken {
            url: url.to_owned(),
            reason,
        };
        let address = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next())
            .ok_or_else(|| broken("not http".to_owned()))?;
        let mut request = url
            .replacen("http://", "ws://", 1)
            .into_client_request()
            .map_err(|e| broken(e.to_string()))?;
        let protocol = "v4.channel.k8s.io"
            .parse()
            .map_err(|_| broken(String::new()))?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let tcp = TcpStream::connect(address).map_err(|e| broken(e.to_string()))?;
        let (socket, _) = tungstenite::client(request, tcp).map_err(|e| broken(e.to_string()))?;
        // So that a wait can be given up.
        socket
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(50)))
            .map_err(|e| broken(e.to_string()))?;
        Ok(Self {
            url: url.to_owned(),
            socket,
            seen: Default::default(),
            ended: false,
        })
    }

    /// Writes to standard input, or to the forwarded connection.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.send(STDIN, bytes)
    }

    /// Says the size of the terminal.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn resize(&mut self, width: u16, height: u16) -> Result<(), Error> {
        let json = format!(r#"{{"Width":{width},"Height":{height}}}"#);
        self.send(RESIZE, json.as_bytes())
    }

    fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Error> {
        let message = [&[channel], bytes].concat();
        self.socket
            .send(Message::binary(message))
            .map_err(|e| self.broken(&e))
    }

    fn broken(&self, error: &tungstenite::Error) -> Error {
        Error::Broken {
            url: self.url.clone(),
            reason: error.to_string(),
        }
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.seen[STDOUT])
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.seen[STDERR])
    }

    /// Reads until standard output contains `wanted`.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_stdout(&mut self, wanted: &str, limit: Duration) -> Result<(), Error> {
        self.wait(&format!("{wanted:?}"), limit, |this| {
            this.stdout().contains(wanted)
        })
    }

    /// Reads until the process has ended and gives its exit status.
    ///
    /// # Errors
    /// When it has not within `limit`, or could not be run: then with the error's text.
    pub fn exit_status(&mut self, limit: Duration) -> Result<i32, Error> {
        self.wait("the exit status", limit, |this| {
            !this.seen[ERROR].is_empty() || this.ended
        })?;
        let error = text(&self.seen[ERROR]);
        let status: Value = serde_json::from_str(&error).unwrap_or_default();
        let cause = &status["details"]["causes"][0];
        match (status["status"].as_str(), cause["reason"].as_str()) {
            (Some("Success"), _) => Some(0),
            (_, Some("ExitCode")) => cause["message"].as_str().and_then(|n| n.parse().ok()),
            _ => None,
        }
        .ok_or(Error::Broken {
            url: self.url.clone(),
            reason: error,
        })
    }

    /// Reads until the server ends the connection.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<(), Error> {
        self.wait("the end of the stream", limit, |this| this.ended)
    }

    /// As a forwarded port: reads until the connection's data (its channel is 0) contain `wanted`.
    ///
    /// # Errors
    /// When they do not within `limit`.
    pub fn wait_data(&mut self, wanted: &str, limit: Duration) -> Result<(), Error> {
        self.wait(&format!("{wanted:?}"), limit, |this| {
            text(&this.seen[0]).contains(wanted)
        })
    }

    /// As a forwarded port: reads until something is said on its error channel (1), beyond the port's number that
    /// both channels begin with.
    ///
    /// # Errors
    /// When nothing is within `limit`.
    pub fn forward_error(&mut self, limit: Duration) -> Result<String, Error> {
        self.wait("an error of the port", limit, |this| this.seen[1].len() > 2)?;
        Ok(text(&self.seen[1][2..]))
    }

    fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Error> {
        let (start, limit) = (Instant::now(), scaled(limit));
        while !done(self) {
            if start.elapsed() > limit || self.ended {
                return Err(Error::TooLate {
                    what: what.to_owned(),
                    limit,
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                    error: text(&self.seen[ERROR]),
                });
            }
            self.read();
        }
        Ok(())
    }

    /// One message, if one comes soon.
    fn read(&mut self) {
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => {
                if let Some((channel, data)) = bytes.split_first()
                    && let Some(seen) = self.seen.get_mut(usize::from(*channel))
                {
                    seen.extend_from_slice(data);
                }
            }
            Ok(Message::Close(_)) => self.ended = true,
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
