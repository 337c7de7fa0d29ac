//! The test harness and the end-to-end tests against the real binary.
