//! End to end: the real binary, real sockets, real clients, stock verifiers.

use std::process::ExitCode;

fn main() -> ExitCode {
    bailiwick_tests::run_scenarios(&[])
}
