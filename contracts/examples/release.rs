//! Releases the current contracts: saves each changed one as its next revision, with a sample.

use std::{fs, path::Path, process::ExitCode};

use contracts::{compatibility::breakages, generated};
use serde_json::Value;

fn main() -> ExitCode {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = false;
    for (name, schema) in generated::schemas() {
        let released = directory.join("released").join(&name);
        let revisions: Vec<Value> = (1..).map_while(|n| read(&released.join(format!("{n}.json")))).collect();
        if revisions.iter().any(|revision| !breakages(revision, &schema).is_empty()) {
            eprintln!("{name} breaks a released revision; `cargo test -p contracts` shows how");
            broken = true;
        } else if revisions.last() != Some(&schema) {
            let number = revisions.len() + 1;
            write(&released.join(format!("{number}.json")), &format!("{schema:#}\n"));
            if let Some(sample) = read(&directory.join(format!("samples/{name}.json"))) {
                write(&released.join(format!("samples/{number}.json")), &format!("{sample}\n"));
            }
            println!("{name}: released revision {number}");
        }
    }
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn write(path: &Path, text: &str) {
    let directory = path.parent().expect("a document is in a directory");
    fs::create_dir_all(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
