//! What a container's lifecycle says: the model, its strict parser, where it comes from. Pure.

mod annotations;
mod describe;
mod error;
mod grace;
mod handlers;
pub(crate) mod host;
mod kind;
mod model;
mod parse;
mod pasted;
mod policy;
mod ports;
pub(crate) mod reader;
mod source;
mod statuses;
pub mod text;
pub(crate) mod tree;

pub(crate) use annotations::image;
pub use annotations::{Annotations, CONTAINER_NAME_ANNOTATION, Pod, attempt, is_cri, is_sandbox};
pub use error::{FieldError, LifecycleError};
pub use grace::{DEFAULT_GRACE_PERIOD, grace_period};
pub use kind::HandlerKind;
pub use model::{Handler, Header, Hook, Lifecycle, OnFailure, Output, Scheme};
pub(crate) use parse::{lifecycle as read_lifecycle, output as read_output, signal as read_signal};
pub use policy::Policy;
pub use ports::{PORTS_ANNOTATION, Ports};
pub use source::{MAX_VALUE_BYTES, OWN_ANNOTATION, POD_ANNOTATION_PREFIX};
pub use statuses::Statuses;
