//! All code that runs between fork and execve, in two processes: the joiner and the command.

pub mod command;
pub mod home;
pub mod joiner;
pub mod labels;
pub mod restrict;
pub mod terminal;
