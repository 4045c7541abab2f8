//! The `podhook` command as a library.
