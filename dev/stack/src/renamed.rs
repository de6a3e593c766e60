//! The former subcommands of `stack` that are programs of their own now.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};

use crate::service::sibling_program;

/// Replaces this process by the program that carries out a former subcommand.
///
/// # Errors
/// Returns an error if `words` names no former subcommand, or if the program is not built.
pub fn exec(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let (name, arguments) = words.split_first().context("a subcommand is missing; see --help")?;
    let sweep = arguments.iter().any(|argument| argument == "--every-frame");
    let (program, subcommand) = match name.to_str() {
        Some("bench") => ("bench", None),
        Some("faults") => ("faults", Some(if sweep { "sweep" } else { "run" })),
        Some("memory") => ("faults", Some("memory")),
        Some("reconcile") => ("console", Some("reconcile")),
        _ => bail!("unknown subcommand {}; see --help", name.display()),
    };
    let mut command = Command::new(sibling_program(program)?);
    command.args(subcommand.map(OsStr::new));
    command.args(arguments.iter().filter(|argument| *argument != "--every-frame"));
    Err(command.exec()).with_context(|| format!("cannot start {program}"))
}
