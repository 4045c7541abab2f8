//! The hidden commands: the part of apply and delete that must not end with the terminal it was typed in.

pub mod remove;
pub mod start;
