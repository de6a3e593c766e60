//! Where an installed program is.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The program's path, from the `PATH` or from `/usr/sbin`, which ordinary users often lack there.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is not installed; run script/install"))
}
