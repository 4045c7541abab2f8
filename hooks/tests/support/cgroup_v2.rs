//! A mount namespace in which cgroup v2 is the only hierarchy, for tests that run once more in it.

use super::within::{Inherited, within};

/// True where the test shall run; else it has run, in the namespace.
pub fn inside(test: &str) -> bool {
    within(test, Inherited::Default, true)
}
