//! Network namespaces as pods have them, with servers inside. Needs root; a namespace goes with the
//! last thread, process and descriptor in it, so nothing is left behind.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use podhook_hooks::handler::net::{HttpGet, HttpOutcome, Network, http_get, tcp_connect};
use podhook_hooks::lifecycle::{Header, Scheme, Statuses};

/// The addresses of [`PodNetwork::with_addresses`].
pub const V4: &str = "10.9.0.5";
pub const V6: &str = "fd09::5";

/// More than anything takes here that does not hang, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One pod's network namespace, and the root of its container.
pub struct PodNetwork {
    netns: File,
    root: tempfile::TempDir,
    /// The root, open.
    held: File,
}

/// An address of IPv6 is not there for connections before the kernel has seen its link come up.
fn wait_for_addresses() {
    for _ in 0..1000 {
        let tentative = Command::new("ip")
            .args(["-6", "addr", "show", "tentative"])
            .output()
            .expect("ip");
        if tentative.stdout.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("addresses stay tentative");
}

impl PodNetwork {
    /// With loopback alone.
    pub fn new() -> PodNetwork {
        Self::with_addresses(&[])
    }

    /// With loopback, and `eth0` with these addresses.
    pub fn with_addresses(addresses: &[&str]) -> PodNetwork {
        let mut commands = vec!["link set lo up".to_owned()];
        if !addresses.is_empty() {
            commands.push("link add eth0 type veth peer name far0".to_owned());
            commands.push("link set eth0 up".to_owned());
            commands.push("link set far0 up".to_owned());
        }
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            commands.push(format!("addr add {address}/24 dev eth0 {nodad}"));
        }
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        Self::with_commands(&commands)
    }

    /// Set up with `ip`.
    pub fn with_commands(commands: &[&str]) -> PodNetwork {
        let netns = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (needs root)");
                for command in commands {
                    let status = Command::new("ip").args(command.split_whitespace()).status();
                    assert!(status.expect("ip").success(), "ip {command}");
                }
                wait_for_addresses();
                File::open("/proc/thread-self/ns/net").expect("the namespace")
            });
            made.join().expect("the namespace's thread")
        });
        PodNetwork::of(netns)
    }

    /// The one the test itself is in, as a pod with host network.
    pub fn of_the_node() -> PodNetwork {
        Self::of(File::open("/proc/self/ns/net").expect("the namespace"))
    }

    /// With an empty root.
    fn of(netns: File) -> PodNetwork {
        let root = tempfile::tempdir().expect("a root");
        std::fs::create_dir(root.path().join("etc")).expect("/etc");
        let held = File::open(root.path()).expect("the root");
        PodNetwork { netns, root, held }
    }

    /// The container's root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file of the container's.
    pub fn write(&self, path: &str, text: &str) {
        std::fs::write(self.root().join(path), text).expect("a file");
    }

    /// What a hook sends from.
    pub fn network(&self) -> Network<'_> {
        Network {
            netns: self.netns.as_fd(),
            root: self.held.as_fd(),
        }
    }

    /// Does something in the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.netns, CloneFlags::CLONE_NEWNET).expect("setns");
                work()
            });
            inside.join().expect("the thread")
        })
    }

    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// A server in this namespace; each connection gets a thread. Returns its port.
    pub fn serve(&self, ip: &str, with: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
        let listener = thread::scope(|scope| {
            let bound = scope.spawn(|| {
                setns(&self.netns, CloneFlags::CLONE_NEWNET).expect("setns");
                TcpListener::bind((ip, 0)).expect("bind")
            });
            bound.join().expect("the server's thread")
        });
        let port = listener.local_addr().expect("address").port();
        let with = Arc::new(with);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let with = with.clone();
                thread::spawn(move || with(stream));
            }
        });
        port
    }

    /// An HTTP server: `respond` gets a request's head and gives all of the response.
    pub fn respond(
        &self,
        ip: &str,
        respond: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Server {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let port = self.serve(ip, move |mut stream| {
            let request = head(&mut stream);
            if request.is_empty() {
                return;
            }
            let response = respond(&request);
            seen.lock().expect("requests").push(request);
            let _ = stream.write_all(response.as_bytes());
        });
        Server { port, requests }
    }

    /// A GET of `path`, by hook.
    pub fn get(&self, port: u16, path: &str) -> HttpOutcome {
        self.request(Get::new(port, path))
    }

    /// A GET with all it can have.
    pub fn request(&self, get: Get<'_>) -> HttpOutcome {
        let headers: Vec<Header> = get
            .headers
            .iter()
            .map(|(name, value)| Header {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let request = HttpGet {
            path: get.path,
            port: get.port,
            host: get.host,
            scheme: get.scheme,
            headers: &headers,
        };
        within(
            PATIENCE,
            http_get(self.network(), &request, Statuses::default()),
        )
        .expect("an end")
    }

    /// A connection, by hook.
    pub fn connect(&self, host: Option<&str>, port: u16) -> Result<(), String> {
        let connect = tcp_connect(self.network(), host, port);
        within(PATIENCE, connect).expect("an end")
    }
}

/// A request to make.
#[derive(Clone, Copy)]
pub struct Get<'a> {
    pub path: &'a str,
    pub port: u16,
    pub host: Option<&'a str>,
    pub scheme: Scheme,
    pub headers: &'a [(&'a str, &'a str)],
}

impl<'a> Get<'a> {
    pub fn new(port: u16, path: &'a str) -> Get<'a> {
        Get {
            path,
            port,
            host: None,
            scheme: Scheme::Http,
            headers: &[],
        }
    }
}

/// A server and the heads of the requests it got.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("requests").clone()
    }

    /// Only their request lines' targets.
    pub fn targets(&self) -> Vec<String> {
        let target = |request: &String| request.split(' ').nth(1).unwrap_or_default().to_owned();
        self.requests().iter().map(target).collect()
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

/// Runs the future on a runtime as the shim's; none if it took longer. The future must be `Send`.
pub fn within<T>(time: Duration, future: impl Future<Output = T> + Send) -> Option<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(time, future).await.ok() })
}
