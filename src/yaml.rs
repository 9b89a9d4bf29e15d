//! The only door to YAML, set to read and write as kubectl does.

pub mod located;
