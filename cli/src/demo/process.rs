//! A plugin's process, and what it prints.

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::story::Story;

/// A plugin's process and what it prints.
pub(super) struct Process {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) fn new(name: String, child: Child, stdout: ChildStdout) -> Self {
        Self {
            name,
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    pub(super) async fn print_until(&mut self, story: &mut Story, word: &str) -> anyhow::Result<()> {
        while let Some(line) = self.lines.next_line().await? {
            story.said(&self.name, &line);
            if line.contains(word) {
                return Ok(());
            }
        }
        anyhow::bail!("{} ended before it said {word:?}", self.name)
    }

    pub(super) async fn print_to_end(&mut self, story: &mut Story) -> anyhow::Result<Option<i32>> {
        while let Some(line) = self.lines.next_line().await? {
            story.said(&self.name, &line);
        }
        if let Some(stderr) = self.child.stderr.take() {
            let mut errors = BufReader::new(stderr).lines();
            while let Some(line) = errors.next_line().await? {
                story.said(&self.name, &line);
            }
        }
        Ok(self.child.wait().await?.code())
    }
}
