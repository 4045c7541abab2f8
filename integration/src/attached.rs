//! A command attached through CRI `Exec`, as `kubectl exec` is: a WebSocket with channels.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::wait::scaled;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;

/// The longest silence of a command that is read from.
const SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Attached {
    stream: TcpStream,
    /// Standard output and error so far.
    pub output: Vec<u8>,
    status: Option<Value>,
}

impl Attached {
    /// Connects to the address that CRI `Exec` has answered.
    ///
    /// # Errors
    /// When nothing answers there, or not with a WebSocket.
    pub fn connect(url: &str) -> io::Result<Self> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(scaled(SILENCE)))?;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Origin: http://{host}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            let head = String::from_utf8_lossy(&head).into_owned();
            return Err(io::Error::other(head));
        }
        Ok(Self {
            stream,
            output: Vec::new(),
            status: None,
        })
    }

    /// Types something.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        self.send(STDIN, text.as_bytes())
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn resize(&mut self, width: u16, height: u16) -> io::Result<()> {
        let size = format!(r#"{{"Width":{width},"Height":{height}}}"#);
        self.send(RESIZE, size.as_bytes())
    }

    /// One masked binary frame; RFC 6455, 5.2. A mask of zeroes is one, too.
    fn send(&mut self, channel: u8, text: &[u8]) -> io::Result<()> {
        let length = text.len() + 1;
        assert!(length < 126, "short messages only");
        let mut frame = vec![0x82, 0x80 | length as u8, 0, 0, 0, 0, channel];
        frame.extend(text);
        self.stream.write_all(&frame)
    }

    /// Reads until the output has `text`.
    ///
    /// # Errors
    /// When the command ends before, or is silent for a minute.
    pub fn wait_output(&mut self, text: &str) -> io::Result<()> {
        while !String::from_utf8_lossy(&self.output).contains(text) {
            if !self.receive()? {
                let output = String::from_utf8_lossy(&self.output);
                return Err(io::Error::other(format!("no {text:?} in {output:?}")));
            }
        }
        Ok(())
    }

    /// Reads to the end; the exit status.
    ///
    /// # Errors
    /// When the connection breaks, or the command could not be run: the message of the answer.
    pub fn wait_exit(&mut self) -> io::Result<i32> {
        while self.status.is_none() && self.receive()? {}
        let status = self.status.clone().unwrap_or_default();
        if status["status"] == "Success" {
            return Ok(0);
        }
        let code = status["details"]["causes"][0]["message"]
            .as_str()
            .filter(|_| status["reason"] == "NonZeroExitCode")
            .and_then(|code| code.parse().ok());
        code.ok_or_else(|| io::Error::other(status.to_string()))
    }

    /// One frame. False at the end.
    fn receive(&mut self) -> io::Result<bool> {
        let mut head = [0; 2];
        if self.stream.read_exact(&mut head).is_err() {
            return Ok(false);
        }
        let [kind, length] = head;
        let length = match length & 0x7f {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut frame = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.stream.read_exact(&mut frame)?;
        if kind & 0xf == 8 {
            return Ok(false);
        }
        match frame.split_first() {
            Some((&(STDOUT | STDERR), text)) => self.output.extend(text),
            Some((&STATUS, text)) if !text.is_empty() => {
                self.status = Some(serde_json::from_slice(text)?);
            }
            _ => {}
        }
        Ok(true)
    }
}
