//! Changes one rule in a copy of the workspace. The harness must then report lost customers, or a test of the whole
//! system must fail.
//!
//! A harness that cannot fail proves nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// The services that the copy builds.
const SERVICES: [&str; 3] = ["web-store", "transformer", "marketing"];

/// A changed rule. One build contains all of them, and the directory of a binary selects one.
struct Mutation {
    /// The name of the directory.
    name: &'static str,
    file: &'static str,
    changes: &'static [Change],
}

/// A text that the file contains exactly once, and its replacement. In the replacement, [`IS_SELECTED`] stands for
/// a condition.
type Change = (&'static str, &'static str);

const IS_SELECTED: &str = "IS_SELECTED";

const ACK_BEFORE_COMMIT: Mutation = Mutation {
    name: "ack-before-commit",
    file: "messaging/src/consumer.rs",
    changes: &[(
        "let Some(outcomes) = self.handle(handler, &batch, shutdown).await? else { break };",
        "if IS_SELECTED {
            let outcomes = batch.iter().map(|_| Ok(())).collect();
            let Some(()) = self.settle(&batch, outcomes, shutdown).await? else { break };
            let Some(_) = self.handle(handler, &batch, shutdown).await? else { break };
            continue;
        }
        let Some(outcomes) = self.handle(handler, &batch, shutdown).await? else { break };",
    )],
};

const DELETE_BEFORE_CONFIRM: Mutation = Mutation {
    name: "delete-before-confirm",
    file: "web-store/src/relay.rs",
    changes: &[
        (
            "let full = claim.messages.len() == usize::try_from(MAX_BATCH)?;
        let settlement = publish(broker, &claim.messages).await?;",
            "let full = claim.messages.len() == usize::try_from(MAX_BATCH)?;
        let messages = claim.messages.clone();
        let settlement = if IS_SELECTED {
            let confirmed = messages.iter().map(|message| message.envelope.message_id).collect();
            Settlement { confirmed, refused: Vec::new() }
        } else {
            publish(broker, &messages).await?
        };",
        ),
        (
            "claim.complete(&settlement).await?;
        // A full batch",
            "claim.complete(&settlement).await?;
        if IS_SELECTED {
            publish(broker, &messages).await?;
        }
        // A full batch",
        ),
    ],
};

const RETURNED_IS_DELIVERED: Mutation = Mutation {
    name: "returned-is-delivered",
    file: "messaging/src/publisher.rs",
    changes: &[
        (
            "Confirmation::Ack(_) if returned.contains(&message.envelope.message_id)",
            "Confirmation::Ack(_) if !IS_SELECTED && returned.contains(&message.envelope.message_id)",
        ),
        // The requests for replays disappear as well. Otherwise a replay would repair the loss.
        (
            "routing_key: routing_key.map_or_else(|| message.routing_key(), Cow::Borrowed),",
            "routing_key: match &*message.envelope.message_type {
                \"web-store.replay-customers.v1\" if IS_SELECTED => \"nothing\".into(),
                _ => routing_key.map_or_else(|| message.routing_key(), Cow::Borrowed),
            },",
        ),
    ],
};

const SKIPPED_PAGE: Mutation = Mutation {
    name: "skipped-page",
    file: "web-store/src/replay/replayer.rs",
    changes: &[(
        "if let Some(obstacle) = publish(broker, &claim.replay.queue, &page.events).await? {",
        "let events = if IS_SELECTED && claim.replay.published == 256 { &[][..] } else { &page.events[..] };
        if let Some(obstacle) = publish(broker, &claim.replay.queue, events).await? {",
    )],
};

const NEW_IDS: Mutation = Mutation {
    name: "new-ids",
    file: "web-store/src/replay/page.rs",
    changes: &[(
        "let message_id = stored.message_id;",
        "let message_id = if IS_SELECTED { Uuid::now_v7() } else { stored.message_id };",
    )],
};

const IGNORED_VERSION: Mutation = Mutation {
    name: "ignored-version",
    file: "web-store/src/replay/table.rs",
    changes: &[(".filter(|(_, known)| *known > 0)", ".filter(|(_, known)| *known > 0 && !IS_SELECTED)")],
};

const GAP_WITHOUT_REQUEST: Mutation = Mutation {
    name: "gap-without-request",
    file: "messaging/src/gap.rs",
    changes: &[(
        "match publish_request(session, &request).await.map_err(failed)? {",
        "let outcome = if IS_SELECTED {
            PublishOutcome::Confirmed
        } else {
            publish_request(session, &request).await.map_err(failed)?
        };
        match outcome {",
    )],
};

const MUTATIONS: [&Mutation; 7] = [
    &ACK_BEFORE_COMMIT,
    &DELETE_BEFORE_CONFIRM,
    &RETURNED_IS_DELIVERED,
    &SKIPPED_PAGE,
    &NEW_IDS,
    &IGNORED_VERSION,
    &GAP_WITHOUT_REQUEST,
];

#[test]
fn harness_detects_ack_before_commit() {
    let output = run_faults(&ACK_BEFORE_COMMIT, &["sweep", "--link", "marketing-to-mysql", "--systems", "1"]);
    assert_loss_is_reported(&output);
}

#[test]
fn harness_detects_delete_before_confirm() {
    let output =
        run_faults(&DELETE_BEFORE_CONFIRM, &["sweep", "--link", "web-store-to-broker", "--systems", "1"]);
    assert_loss_is_reported(&output);
}

#[test]
fn harness_detects_returned_message_counted_as_delivered() {
    let arguments = ["run", "--minutes", "0.1", "--rate", "50", "--only", "empty queue deleted"];
    assert_loss_is_reported(&run_faults(&RETURNED_IS_DELIVERED, &arguments));
}

#[test]
fn harness_detects_replay_with_skipped_page() {
    assert_test_fails(&SKIPPED_PAGE, "replay::concurrent_replays_each_send_every_event");
}

#[test]
fn harness_detects_replay_under_new_ids() {
    let test = "replay::replayed_events_are_original_registration_and_newest_change";
    assert_test_fails(&NEW_IDS, test);
}

#[test]
fn harness_detects_ignored_version_of_subscriber() {
    assert_test_fails(&IGNORED_VERSION, "replay::lower_version_is_replaced_by_higher_one");
}

#[test]
fn harness_detects_gap_without_request() {
    let test = "replay_gaps::late_transformer_receives_existing_customers";
    assert_test_fails(&GAP_WITHOUT_REQUEST, test);
}

impl Mutation {
    /// Applies the changes to the copy of the workspace.
    fn apply(&self, copy: &Path) {
        let condition = format!(
            "std::env::current_exe().is_ok_and(|path| path.parent().is_some_and(|parent| parent.ends_with({:?})))",
            self.name
        );
        let path = copy.join(self.file);
        let mut text = fs::read_to_string(&path).unwrap();
        for (old, new) in self.changes {
            assert_eq!(text.matches(old).count(), 1, "{} does not contain exactly once: {old}", self.file);
            text = text.replace(old, &new.replace(IS_SELECTED, &condition));
        }
        fs::write(&path, text).unwrap();
    }
}

/// Builds the services with all mutations once. Returns the directory with one directory of binaries for each.
fn build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutated-services");
        let copy = directory.join("workspace");
        copy_workspace(&workspace, &copy);
        change_version(&copy.join("Cargo.toml"));
        for mutation in MUTATIONS {
            mutation.apply(&copy);
        }
        let mut cargo = cargo();
        // The dependencies are those of the workspace, which are built. Only the programs have a directory of their own.
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        cargo.env("CARGO_BUILD_BUILD_DIR", built).env("CARGO_TARGET_DIR", directory.join("target"));
        // The lock file has the former version of the workspace's own packages.
        cargo.current_dir(&copy).args(["build", "--workspace", "--offline"]);
        cargo.args(SERVICES.map(|service| format!("--bin={service}")));
        run(&mut cargo);
        for mutation in MUTATIONS {
            let binaries = directory.join(mutation.name);
            fs::create_dir_all(&binaries).unwrap();
            for service in SERVICES {
                fs::copy(directory.join("target/debug").join(service), binaries.join(service)).unwrap();
            }
        }
        directory
    })
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

/// Gives the packages of the copy another version. Otherwise, cargo would give their libraries the names of the original
/// ones, and replace these in the build directory of the workspace.
fn change_version(manifest: &Path) {
    let text = fs::read_to_string(manifest).unwrap();
    let version = concat!("\nversion = \"", env!("CARGO_PKG_VERSION"), "\"\n");
    assert_eq!(text.matches(version).count(), 1, "{} has no version of the workspace", manifest.display());
    fs::write(manifest, text.replace(version, "\nversion = \"0.0.0\"\n")).unwrap();
}

/// Returns cargo without the variables of this test's own package, after a change of which some dependencies build again.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the harness with the services of a mutation.
fn run_faults(mutation: &Mutation, arguments: &[&str]) -> Output {
    let mut faults = Command::new("timeout");
    faults.args(["300", env!("CARGO_BIN_EXE_faults")]).args(arguments).arg("--fail-fast");
    faults.env("STACK_BIN_DIR", build().join(mutation.name)).output().unwrap()
}

/// Runs one test of the whole system with the services of a mutation.
fn assert_test_fails(mutation: &Mutation, test: &str) {
    let mut cargo = cargo();
    // The whole workspace, because other features of the dependencies would build them again.
    cargo.args(["test", "--workspace", "--locked", "--test", "system", "--", "--exact", test]);
    let output = cargo.env("STACK_BIN_DIR", build().join(mutation.name)).output().unwrap();
    let failed = String::from_utf8_lossy(&output.stdout).contains(&format!("test {test} ... FAILED"));
    assert!(failed && !output.status.success(), "the test does not fail: {output:?}");
}

fn assert_loss_is_reported(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let verdict = text.lines().last().unwrap_or_default();
    let lost = verdict.split_whitespace().find_map(|word| word.strip_prefix("lost="));
    let loss_is_reported = lost.is_some_and(|lost| lost != "0");
    assert!(loss_is_reported && !output.status.success(), "no loss is reported: {output:?}");
}
