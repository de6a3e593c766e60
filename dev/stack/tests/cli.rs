//! The command line: commands with private servers, and the former names of subcommands.

use std::process::{Command, Output};

#[test]
fn run_returns_the_exit_status_of_its_command() {
    let script = "test -n \"$STACK_SERVERS_POSTGRES_PORT\" && exit 3";
    let output = stack(&["run", "--dir", env!("CARGO_TARGET_TMPDIR"), "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn former_name_of_run_still_works() {
    let output = stack(&["servers", "--dir", env!("CARGO_TARGET_TMPDIR"), "--", "true"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn former_subcommand_runs_the_new_program() {
    let output = stack(&["reconcile", "--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && help.contains("console reconcile"), "{help}");
}

#[test]
fn unknown_subcommand_fails_with_a_hint() {
    let output = stack(&["downn"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && errors.contains("unknown subcommand downn"), "{errors}");
}

fn stack(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stack")).args(arguments).output().unwrap()
}
