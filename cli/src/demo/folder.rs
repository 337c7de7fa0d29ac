//! Where the demo happens: a temporary folder, or one that is kept.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where the demo happens.
pub(super) enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    pub(super) fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = keep else {
            let folder = tempfile::Builder::new().prefix("bailiwick-demo-").tempdir();
            return Ok(Self::Temporary(folder.context("cannot make a temporary folder")?));
        };
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let is_empty = std::fs::read_dir(path)?.next().is_none();
        anyhow::ensure!(is_empty, "{} is not empty; name a new folder", path.display());
        Ok(Self::Kept(std::path::absolute(path)?))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), b"x").unwrap();
        let error = Folder::new(Some(folder.path())).err().unwrap();
        assert!(error.to_string().contains("is not empty"));
    }
}
