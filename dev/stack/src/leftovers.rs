//! Removes what may or may not be there.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result};

/// Removes a file if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    unless_missing(fs::remove_file(path), path)
}

/// Removes a directory with all that is in it, if it is there.
pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    unless_missing(fs::remove_dir_all(path), path)
}

fn unless_missing(outcome: io::Result<()>, path: &Path) -> Result<()> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
