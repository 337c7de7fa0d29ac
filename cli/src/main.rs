//! `bailiwick`: the one binary; one file per command.
//!
//! This is where deciding and acting are wired together: the only crate that knows both the gateway
//! and the registry.

mod args;
#[cfg(feature = "s3")]
mod bucket;
mod bucket_config;
mod client;
mod clock;
mod commands;
mod config;
mod demo;
mod exit;
mod export_config;
mod files;
mod house;
mod limits;
mod list_file;
mod outgoing;
mod output;
mod parent_config;
mod random;
mod retention;
mod service;
mod tls_config;
mod trust_file;
mod witness;

use std::process::ExitCode;

use clap::Parser as _;

/// A tunnel is some dozens of short allocations of up to a few kilobytes, which this one makes cheaper.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match commands::run(&args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&args, &error);
            exit::exit_of(&error).into()
        }
    }
}

/// One line on standard error for people; a document on standard output for programs.
fn report(args: &args::Args, error: &anyhow::Error) {
    let message = format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if args.format == output::FormatWord::Json && !args.command.speaks_for_itself() {
        let code = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<exit::Refused>())
            .map(|r| r.code.clone());
        let document = serde_json::json!({ "error": message, "code": code });
        // The exit status says it as well.
        let _ = output::line(&document.to_string());
    }
    output::note(false, &format!("error: {message}"));
}
