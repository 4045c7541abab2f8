//! A network namespace as a container has it, with servers of the test inside.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, setns};
use podhook_integration::command;
use podhook_integration::node::Pod;
use podhook_integration::{Node, Outcome};

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
    pub fn of_pod(node: &Node, pod: &Pod<'_>) -> Result<Self, Error> {
        let tasks = node.containerd().ctr_in("k8s.io").tasks()?;
        let sandbox = tasks.get(pod.id()).ok_or("the pod has no sandbox")?;
        Self::of_process(sandbox.pid)
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
}

/// A server; it stops listening when dropped, so that it does not keep the namespace.
pub struct Server {
    /// Its port.
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
