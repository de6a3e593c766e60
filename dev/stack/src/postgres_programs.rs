//! Where PostgreSQL's programs are, and as whom they run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::geteuid;
use tokio::process::Command;

use crate::command::child_command;

const AS_POSTGRES: [&str; 4] = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL"];

/// One of PostgreSQL's programs, as the user `postgres` if this is root, whom it refuses.
pub(crate) async fn as_server(data: &Path, program: &str) -> Result<Command> {
    let program = newest_installation()?.join(program);
    if !geteuid().is_root() {
        return Ok(child_command(program));
    }
    let mut setpriv = Command::new("setpriv");
    setpriv.args(AS_POSTGRES);
    let may_enter = Command::new("setpriv").args(AS_POSTGRES).args(["test", "-x"]).arg(data).status().await;
    if !may_enter.context("setpriv; script/install installs it")?.success() {
        // A checkout below /root: let it pass the directories on the way.
        setpriv.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
    }
    setpriv.arg("--").arg(program);
    Ok(setpriv)
}

/// Debian keeps each major version apart, and none of its servers in the `PATH`.
fn newest_installation() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .filter(|version| version.path().join("bin/postgres").exists())
        .max_by_key(|version| version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()))
        .map(|version| version.path().join("bin"))
        .context("PostgreSQL is not installed; run script/install")
}
