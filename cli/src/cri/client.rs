//! The gRPC client over containerd's unix socket.

use std::path::{Path, PathBuf};

use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint};

/// The kubelet's limit for one CRI answer (cri-client `maxMsgSize`).
const MAX_MESSAGE_SIZE: usize = 16 * 1024 * 1024;

/// What can go wrong between this command and containerd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers on the socket.
    #[error("cannot connect to containerd at {}: {}\n  hint: {}", path.display(), root_cause(source), hint(source))]
    Connect {
        /// The socket's path.
        path: PathBuf,
        source: tonic::transport::Error,
    },
    /// A call was answered with an error; its text is containerd's own.
    #[error("{}", status.message())]
    Call {
        /// The name of the call, as the service defines it.
        operation: &'static str,
        status: Box<tonic::Status>,
    },
    /// The stream of an exec broke or did not come to be.
    #[error(transparent)]
    Exec(#[from] super::exec::Error),
}

/// tonic's own text says "transport error"; what the kernel said is below it.
fn root_cause<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    error.source().map_or(error, root_cause)
}

fn hint(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let cause = root_cause(error).downcast_ref::<std::io::Error>();
    match cause.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::PermissionDenied) => "root may: sudo podhook …",
        _ => {
            "does it run? systemctl status containerd; --address names its socket (k3s, RKE2: /run/k3s/containerd/containerd.sock)"
        }
    }
}

impl Error {
    /// Makes an error of the answer to `operation`; for `map_err`.
    pub fn call(operation: &'static str) -> impl Fn(tonic::Status) -> Self {
        move |status| Self::Call {
            operation,
            status: Box::new(status),
        }
    }

    /// Whether containerd said that the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { status, .. } if status.code() == tonic::Code::NotFound)
    }

    /// Whether the shim could not be asked, since containerd has closed its connection to it: of a pod without a pause
    /// container whose removal has begun. containerd knows the pod until the shim's verb `delete` has ended.
    #[must_use]
    pub fn is_of_a_closed_shim(&self) -> bool {
        matches!(self, Self::Call { status, .. } if status.message().ends_with(": ttrpc: closed"))
    }
}

/// Both CRI services of one containerd. Cloning is cheap; clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// `runtime.v1.RuntimeService`.
    pub runtime: RuntimeServiceClient<Channel>,
    /// `runtime.v1.ImageService`.
    pub images: ImageServiceClient<Channel>,
    /// The connection, for what these two do not have.
    pub channel: Channel,
}

impl Client {
    /// Connects to the unix socket at `path`.
    ///
    /// # Errors
    /// [`Error::Connect`] when nothing accepts the connection.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        // A URI has an absolute path.
        let path = &std::path::absolute(&path).unwrap_or_else(|_| path.as_ref().to_owned());
        let connect_error = |source| Error::Connect {
            path: path.to_owned(),
            source,
        };
        let endpoint =
            Endpoint::from_shared(format!("unix://{}", path.display())).map_err(connect_error)?;
        let channel = endpoint.connect().await.map_err(connect_error)?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_SIZE),
            images: ImageServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_SIZE),
            channel,
        })
    }
}
