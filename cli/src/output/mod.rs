//! How things are printed: kubectl's tables, ages and YAML.

pub mod age;
pub mod pod;
pub mod table;
