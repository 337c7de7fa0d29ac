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
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, || condition().then_some(()))
}

/// Asks `question` again and again until it has an answer.
pub(crate) fn wait_for<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = question() {
            return Ok(answer);
        }
        if started.elapsed() > DEADLINE {
            bail!("waited {}s in vain for {what}", DEADLINE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
