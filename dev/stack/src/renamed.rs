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
pub(crate) fn exec(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = translate(words)?;
    let error = Command::new(sibling_program(program)?).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}

/// Returns the new program and its arguments.
fn translate(words: &[OsString]) -> anyhow::Result<(&'static str, Vec<&OsStr>)> {
    let (name, arguments) = words.split_first().context("a subcommand is missing; see --help")?;
    let arguments = arguments.iter().map(OsString::as_os_str);
    let sweep = arguments.clone().any(|argument| argument == "--every-frame");
    let (program, subcommand) = match name.to_str() {
        Some("bench") => ("bench", None),
        Some("faults") => ("faults", Some(if sweep { "sweep" } else { "run" })),
        Some("memory") => ("faults", Some("memory")),
        Some("reconcile") => ("console", Some("reconcile")),
        _ => bail!("unknown subcommand {}; see --help", name.display()),
    };
    let arguments = arguments.filter(|argument| *argument != "--every-frame");
    Ok((program, subcommand.map(OsStr::new).into_iter().chain(arguments).collect()))
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};

    use super::translate;

    #[test]
    fn former_subcommands_map_to_new_programs() {
        for (old, program, arguments) in [
            ("bench limits --runs 1", "bench", "limits --runs 1"),
            ("faults --seed 1", "faults", "run --seed 1"),
            ("faults --every-frame", "faults", "sweep"),
            ("memory --minutes 3", "faults", "memory --minutes 3"),
            ("reconcile --json", "console", "reconcile --json"),
        ] {
            let words: Vec<_> = old.split(' ').map(OsString::from).collect();
            let new: Vec<_> = arguments.split(' ').collect();
            assert_eq!(translate(&words).unwrap(), (program, new.into_iter().map(OsStr::new).collect()));
        }
    }

    #[test]
    fn unknown_subcommand_is_rejected() {
        let error = translate(&["downn".into()]).unwrap_err();
        assert_eq!(error.to_string(), "unknown subcommand downn; see --help");
    }
}
