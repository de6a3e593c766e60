//! Changes one rule in a copy of the workspace. The harness must then report lost customers.
//!
//! A harness that cannot fail proves nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
};

/// The services that each copy builds.
const SERVICES: [&str; 3] = ["web-store", "transformer", "marketing"];

/// A text that a file contains exactly once, and its replacement.
type Change = (&'static str, &'static str);

#[test]
fn ack_before_commit_is_detected() {
    let changes = [(
        "let Some(outcomes) = self.handle(handler, &batch, shutdown).await? else { break };
            let Some(()) = self.settle(&batch, outcomes, shutdown).await? else { break };",
        "let outcomes = batch.iter().map(|_| Ok(())).collect();
            let Some(()) = self.settle(&batch, outcomes, shutdown).await? else { break };
            let Some(_) = self.handle(handler, &batch, shutdown).await? else { break };",
    )];
    let binaries = build_changed("ack-before-commit", "messaging/src/consumer.rs", &changes);
    assert_loss_is_reported(&run_faults(&binaries, &["sweep", "--link", "marketing-to-mysql"]));
}

#[test]
fn delete_before_confirm_is_detected() {
    let changes = [
        (
            "let full = claim.messages.len() == usize::try_from(MAX_BATCH)?;
        let settlement = publish(broker, &claim.messages).await?;",
            "let full = claim.messages.len() == usize::try_from(MAX_BATCH)?;
        let messages = claim.messages.clone();
        let confirmed = messages.iter().map(|message| message.envelope.message_id).collect();
        claim.complete(&Settlement { confirmed, refused: Vec::new() }).await?;
        let settlement = publish(broker, &messages).await?;",
        ),
        (
            "self.parked.observe_fresh(&claim.messages, &settlement, Instant::now());
        }
        claim.complete(&settlement).await?;",
            "self.parked.observe_fresh(&messages, &settlement, Instant::now());
        }",
        ),
    ];
    let binaries = build_changed("delete-before-confirm", "web-store/src/relay.rs", &changes);
    assert_loss_is_reported(&run_faults(&binaries, &["sweep", "--link", "web-store-to-broker"]));
}

#[test]
fn returned_message_counted_as_delivered_is_detected() {
    let changes =
        [("returned.contains(&message.envelope.message_id.to_string())", "returned.contains(\"nothing\")")];
    let binaries = build_changed("returned-is-delivered", "messaging/src/publisher.rs", &changes);
    let arguments = ["run", "--minutes", "0.1", "--rate", "50", "--only", "empty queue deleted"];
    assert_loss_is_reported(&run_faults(&binaries, &arguments));
}

/// Builds the services from a copy with one changed file, and returns the directory of their binaries.
fn build_changed(name: &str, file: &str, changes: &[Change]) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());

    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let copies = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    let copy = copies.join(name);
    // All copies share one target directory, in which Cargo detects changes by modification time. The next
    // copy is therefore written after the binaries of the previous one are saved.
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    copy_workspace(&workspace, &copy);
    let path = copy.join(file);
    let mut text = fs::read_to_string(&path).unwrap();
    for (old, new) in changes {
        assert_eq!(text.matches(old).count(), 1, "{file} does not contain exactly once: {old}");
        text = text.replace(old, new);
    }
    fs::write(&path, text).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&copy).env("CARGO_TARGET_DIR", copies.join("target"));
    cargo.args(["build", "--locked"]).args(SERVICES.map(|service| format!("--package={service}")));
    run(&mut cargo);
    let binaries = copy.join("bin");
    fs::create_dir_all(&binaries).unwrap();
    for service in SERVICES {
        fs::copy(copies.join("target/debug").join(service), binaries.join(service)).unwrap();
    }
    binaries
}

/// Copies the manifests and the crates. Cargo needs all members of the workspace to read its manifest.
fn copy_workspace(workspace: &Path, copy: &Path) {
    fs::create_dir_all(copy).unwrap();
    let mut cp = Command::new("cp");
    cp.arg("-R");
    for entry in fs::read_dir(workspace).unwrap() {
        let entry = entry.unwrap();
        let is_manifest = entry.file_name().to_string_lossy().starts_with("Cargo.");
        if is_manifest || entry.file_name() == "dev" || entry.path().join("Cargo.toml").exists() {
            cp.arg(entry.path());
        }
    }
    run(cp.arg(copy));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the harness with the services in `binaries`.
fn run_faults(binaries: &Path, arguments: &[&str]) -> Output {
    let mut faults = Command::new("timeout");
    faults.args(["300", env!("CARGO_BIN_EXE_faults")]).args(arguments).arg("--fail-fast");
    faults.env("STACK_BIN_DIR", binaries).output().unwrap()
}

fn assert_loss_is_reported(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let verdict = text.lines().last().unwrap_or_default();
    let lost = verdict.split_whitespace().find_map(|word| word.strip_prefix("lost="));
    let loss_is_reported = lost.is_some_and(|lost| lost != "0");
    assert!(loss_is_reported && !output.status.success(), "no loss is reported: {output:?}");
}
