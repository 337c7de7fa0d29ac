//! Scenarios, and how they are run: what is missing is skipped loudly and counted as ignored.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::peer::Peer;

/// One end-to-end test.
pub struct Scenario {
    /// The behaviour it claims.
    pub name: &'static str,
    /// What it cannot do without.
    pub needs: &'static [Peer],
    /// The test.
    pub run: fn() -> anyhow::Result<()>,
}

thread_local! {
    /// What the worlds of this thread's scenario left behind, for whoever reads about its failure.
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Leaves something to be printed should the current scenario fail.
pub(crate) fn leave_note(note: String) {
    NOTES.with_borrow_mut(|notes| notes.push(note));
}

/// Runs the scenarios as `cargo test` runs tests: same arguments, same closing line.
pub fn run_scenarios(groups: &[(&str, &[Scenario])]) -> ExitCode {
    let trials = groups
        .iter()
        .flat_map(|(group, scenarios)| scenarios.iter().map(move |scenario| trial(group, scenario)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(group: &str, scenario: &Scenario) -> Trial {
    let name = format!("{group}::{}", scenario.name);
    let (needs, run) = (scenario.needs, scenario.run);
    let title = name.clone();
    Trial::ignorable_test(name, move || {
        if let Some(missing) = needs.iter().find_map(|peer| peer.find().err()) {
            eprintln!("SKIPPED {title} {missing}");
            return Ok(Completion::ignored_with(missing));
        }
        NOTES.take();
        let outcome = catch_unwind(AssertUnwindSafe(run));
        let notes = NOTES.take();
        if !matches!(outcome, Ok(Ok(()))) {
            eprintln!("FAILED {title}");
            notes.iter().for_each(|note| eprintln!("{note}"));
        }
        match outcome {
            Ok(Ok(())) => Ok(Completion::Completed),
            Ok(Err(error)) => Err(Failed::from(format!("{error:#}"))),
            Err(panic) => resume_unwind(panic),
        }
    })
}
