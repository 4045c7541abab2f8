//! Text that a container controls, on a terminal.

pub use podhook_hooks::lifecycle::text::{visible, visible_json as json, visible_lines as lines};
