//! Programs that run to their end, as an operator runs them.

use std::process::Stdio;

use crate::{SOON, TestEnvironment};
use stack::service::{Program, sibling_program};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// What a program said, and its exit status.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// `web-store republish`, with nothing but the Web Store's database.
pub async fn republish(site: &TestEnvironment, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(Program::WebStore.path().unwrap());
    command.env_clear().env("WEB_STORE_DATABASE_URL", site.addresses().web_store_database_url("web_store"));
    command.arg("republish").args(arguments);
    run(command, input).await
}

/// Runs a program to its end, with text on its standard input.
pub async fn run(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut standard_input = child.stdin.take().unwrap();
    let feed = async {
        // A program that wants no input may be gone before it has read it.
        let _ = standard_input.write_all(input.as_bytes()).await;
        drop(standard_input);
    };
    let ended = async { tokio::join!(feed, child.wait_with_output()).1.unwrap() };
    let output = timeout(SOON * 4, ended).await.expect("it ends");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// `stack reconcile`, with nothing but the addresses.
pub async fn reconcile(site: &TestEnvironment, arguments: &[&str]) -> Said {
    let mut command = Command::new(sibling_program("console").unwrap());
    let addresses = site.addresses();
    command.env_clear().env("WEB_STORE_DATABASE_URL", addresses.web_store_database_url("web_store"));
    command.env("MARKETING_DATABASE_URL", addresses.marketing_database_url("marketing"));
    command.env("BROKER_URL", addresses.broker_url("admin"));
    command.arg("reconcile").args(arguments);
    run(command, "").await
}
