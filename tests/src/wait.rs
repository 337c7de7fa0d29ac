//! Waiting for something to become true, with an end.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for anything before it fails. Generous, because nothing is slower than
/// a test machine under load, and nothing waits this long when all is well.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks `condition` again and again until it answers yes.
///
/// # Errors
/// When [`DEADLINE`] has passed, naming `what` was waited for.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Result<()> {
    wait_within(DEADLINE, what, condition)
}

/// Like [`wait_until`], for what takes its time by design.
///
/// # Errors
/// When `limit` has passed, naming `what` was waited for.
pub fn wait_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    ask_within(limit, what, || condition().then_some(()))
}

/// Asks `question` again and again until it has an answer, at most for [`DEADLINE`].
pub(crate) fn wait_for<T>(what: &str, question: impl FnMut() -> Option<T>) -> Result<T> {
    ask_within(DEADLINE, what, question)
}

fn ask_within<T>(limit: Duration, what: &str, mut question: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = question() {
            return Ok(answer);
        }
        if started.elapsed() > limit {
            bail!("waited {}s in vain for {what}", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
