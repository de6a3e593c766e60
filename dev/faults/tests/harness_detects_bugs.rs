//! A harness that cannot fail proves nothing: with one promise taken out of the code, it has to report loss.
//!
//! Each test builds a copy of the workspace in which a few lines were changed, and runs `stack faults` on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// A change of one file: what is there once, and what takes its place.
type Change = (&'static str, &'static str);

#[test]
fn a_consumer_that_acks_before_the_commit_is_found_out() {
    let changes = [(
        "let Some(outcomes) = self.handle(handler, &batch, shutdown).await? else { break };
            self.settle(&batch, outcomes).await?;",
        "self.settle(&batch, batch.iter().map(|_| Ok(())).collect()).await?;
            let Some(_) = self.handle(handler, &batch, shutdown).await? else { break };",
    )];
    let built = build_mutated("ack-before-commit", "messaging/src/consumer.rs", &changes);
    assert_loss(&faults(&built, &["sweep", "--link", "marketing-to-mysql"]));
}

#[test]
fn a_relay_that_deletes_before_the_confirm_is_found_out() {
    let changes = [
        (
            "let outcomes = broker.publish(&claim.messages).await?;",
            "let messages = claim.messages.clone();
    let all: Vec<_> = messages.iter().map(|message| message.envelope.message_id).collect();
    claim.complete(&all).await?;
    let outcomes = broker.publish(&messages).await?;",
        ),
        ("in claim.messages.iter().zip(outcomes)", "in messages.iter().zip(outcomes)"),
        ("let full = claim.messages.len()", "let full = messages.len()"),
        ("claim.complete(&delivered).await?;", "drop(delivered);"),
    ];
    let built = build_mutated("delete-before-confirm", "web-store/src/relay.rs", &changes);
    assert_loss(&faults(&built, &["sweep", "--link", "web-store-to-broker"]));
}

#[test]
fn a_publisher_that_takes_a_returned_message_for_delivered_is_found_out() {
    let changes =
        [("returned.contains(&message.envelope.message_id.to_string())", "returned.contains(\"nothing\")")];
    let built = build_mutated("returned-is-delivered", "messaging/src/publisher.rs", &changes);
    assert_loss(&faults(
        &built,
        &["run", "--minutes", "0.1", "--rate", "50", "--only", "empty queue deleted"],
    ));
}

/// Builds the services with the changes; the directory of their binaries.
fn build_mutated(name: &str, file: &str, changes: &[Change]) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mutations = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    let copy = mutations.join(name);
    // All share one directory of built crates. Cargo takes the copies for the same and goes by time, so the
    // next is copied when the last is built, and has taken its binaries away.
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    copy_sources(&workspace, &copy);
    let path = copy.join(file);
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "the mutation fits no more: {from}");
        text = text.replace(from, to);
    }
    std::fs::write(&path, text).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&copy).env("CARGO_TARGET_DIR", mutations.join("target"));
    cargo.args(["build", "--locked"]);
    cargo.args(PROGRAMS.map(|program| format!("--package={program}")));
    succeed(&mut cargo);
    let binaries = copy.join("bin");
    std::fs::create_dir_all(&binaries).unwrap();
    for program in PROGRAMS {
        let built = mutations.join("target/debug").join(program);
        std::fs::copy(built, binaries.join(program)).unwrap();
    }
    binaries
}

const PROGRAMS: [&str; 3] = ["web-store", "transformer", "marketing"];

static BUILDING: Mutex<()> = Mutex::new(());

fn copy_sources(workspace: &Path, copy: &Path) {
    std::fs::create_dir_all(copy).unwrap();
    let mut cp = Command::new("cp");
    cp.arg("-R");
    for entry in std::fs::read_dir(workspace).unwrap() {
        let entry = entry.unwrap();
        let is_root_manifest = entry.file_name().to_string_lossy().starts_with("Cargo.");
        if is_root_manifest || entry.file_name() == "dev" || entry.path().join("Cargo.toml").exists() {
            cp.arg(entry.path());
        }
    }
    succeed(cp.arg(copy));
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the harness on these binaries.
fn faults(binaries: &Path, arguments: &[&str]) -> Output {
    let mut faults = Command::new("timeout");
    faults.args(["300", env!("CARGO_BIN_EXE_faults")]).args(arguments).arg("--fail-fast");
    faults.env("STACK_BIN_DIR", binaries).output().unwrap()
}

fn assert_loss(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let verdict = text.lines().last().unwrap_or_default();
    let lost = verdict.split_whitespace().find_map(|word| word.strip_prefix("lost="));
    let loss_is_told = lost.is_some_and(|lost| lost != "0");
    assert!(loss_is_told && !output.status.success(), "no loss was reported: {output:?}");
}
