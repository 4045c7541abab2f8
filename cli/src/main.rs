//! The `podhook` command.
fn main() {}
