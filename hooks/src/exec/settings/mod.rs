//! From the words of the OCI specification to the kernel's numbers.

pub mod capabilities;
pub mod namespaces;
#[allow(unsafe_code)]
pub mod rlimit;
#[allow(unsafe_code)]
pub mod schedule;
pub mod spec;
