//! A network namespace as a container has it, with servers of the test inside.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, setns};
use podhook_integration::node::Pod;
use podhook_integration::{Outcome, command};

use crate::script::Error;

/// A network namespace.
pub struct Network {
    netns: File,
}

impl Network {
    /// The one of a process.
    pub fn of_process(pid: i32) -> Result<Self, Error> {
        let path = format!("/proc/{pid}/ns/net");
        let netns = File::open(&path).map_err(|e| format!("open {path}: {e}"))?;
        Ok(Self { netns })
    }

    /// The one of a pod.
    pub fn of_pod(pod: &Pod<'_>) -> Result<Self, Error> {
        Self::of_process(pod.pid()?)
    }

    /// The node's own.
    pub fn of_node() -> Result<Self, Error> {
        Self::of_process(i32::try_from(std::process::id())?)
    }

    /// Does something inside, in a thread that ends with it.
    fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.netns, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            inside.join().map_err(|_| "the thread panicked")?
        })
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) -> Outcome {
        self.inside(|| {
            let words: Vec<_> = arguments.split_whitespace().collect();
            command::stdout_of("ip", &words)?;
            Ok(())
        })
    }

    /// A server on a free port of this address; each connection gets a thread.
    pub fn serve(
        &self,
        ip: &str,
        with: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Result<Server, Error> {
        self.serve_on(ip, 0, with)
    }

    fn serve_on(
        &self,
        ip: &str,
        port: u16,
        with: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Result<Server, Error> {
        let listener = self.inside(|| Ok(TcpListener::bind((ip, port))?))?;
        let port = listener.local_addr()?.port();
        let accepting = listener.try_clone()?;
        let with = Arc::new(with);
        let thread = thread::spawn(move || {
            // Ends when the server is dropped.
            for stream in accepting.incoming().map_while(Result::ok) {
                let with = Arc::clone(&with);
                thread::spawn(move || with(stream));
            }
        });
        Ok(Server {
            port,
            listener,
            thread: Some(thread),
            requests: Arc::default(),
        })
    }

    /// An HTTP server: `respond` gets a request's head and gives all of the response.
    pub fn respond(
        &self,
        ip: &str,
        respond: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Result<Server, Error> {
        self.respond_on(ip, 0, respond)
    }

    /// The same on a given port.
    pub fn respond_on(
        &self,
        ip: &str,
        port: u16,
        respond: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Result<Server, Error> {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let mut server = self.serve_on(ip, port, move |mut stream| {
            let request = head(&mut stream);
            if request.is_empty() {
                return;
            }
            let answer = respond(&request);
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request);
            let _ = stream.write_all(answer.as_bytes());
        })?;
        server.requests = requests;
        Ok(server)
    }

    /// A name server on port 53 of this address; `addresses` gives those of a name, none for no answer at all.
    pub fn names(
        &self,
        ip: &str,
        addresses: impl Fn(&str) -> Option<Vec<Ipv4Addr>> + Send + 'static,
    ) -> Result<Names, Error> {
        let socket = self.inside(|| Ok(UdpSocket::bind((ip, 53))?))?;
        let ends = socket.try_clone()?;
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 512];
            // An empty one is what is left of a socket that is shut.
            while let Ok((length @ 1.., from)) = socket.recv_from(&mut buffer) {
                let Some((name, answer)) = answered(&buffer[..length], &addresses) else {
                    continue;
                };
                let mut asked = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if !asked.contains(&name) {
                    asked.push(name);
                }
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Names {
            asked,
            socket: ends,
            thread: Some(thread),
        })
    }
}

/// A query's name, and the answer to it: addresses for an A query.
fn answered(
    query: &[u8],
    addresses: &impl Fn(&str) -> Option<Vec<Ipv4Addr>>,
) -> Option<(String, Option<Vec<u8>>)> {
    let mut labels = Vec::new();
    let mut rest = query.get(12..)?;
    while let Some((&length @ 1.., after)) = rest.split_first() {
        let (label, after) = after.split_at_checked(usize::from(length))?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
    let name = labels.join(".");
    let Some(found) = addresses(&name) else {
        return Some((name, None));
    };
    let is_a = query.get(query.len().checked_sub(3)?)? == &1;
    let mut answer = query.to_vec();
    // No such name, where there is none.
    let code = if found.is_empty() { 3 } else { 0 };
    answer.get_mut(2..4)?.copy_from_slice(&[0x81, 0x80 | code]);
    let found = if is_a { found } else { Vec::new() };
    let count = u8::try_from(found.len()).ok()?;
    answer.get_mut(6..8)?.copy_from_slice(&[0, count]);
    for address in found {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some((name, Some(answer)))
}

/// A name server; it ends when dropped, so that it does not keep the namespace.
pub struct Names {
    asked: Arc<Mutex<Vec<String>>>,
    socket: UdpSocket,
    thread: Option<thread::JoinHandle<()>>,
}

impl Names {
    /// The names it was asked for, each once, in order.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: a valid descriptor; a receiver is woken even though the socket is not connected.
        unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server; it stops listening when dropped, so that it does not keep the namespace.
pub struct Server {
    pub port: u16,
    listener: TcpListener,
    thread: Option<thread::JoinHandle<()>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: a valid descriptor; nothing is read or written.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A whole response.
pub fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// A request's head.
pub fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
