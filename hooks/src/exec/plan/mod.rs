//! What the parent prepares and the joiner and the command read.

pub mod arena;
pub mod command;
pub mod report;
pub mod sys;
