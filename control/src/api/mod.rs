//! The HTTP interface under `/v1`.

pub mod types;
