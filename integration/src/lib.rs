//! A private containerd to test on.
