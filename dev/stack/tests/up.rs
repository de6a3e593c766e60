//! `stack up` with real servers: it restarts processes that were killed, and SIGTERM stops all of them.
//!
//! It runs with two sites, which have all servers of one site, and a second broker.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, MySqlConnection};
use stack::{command::child_command, ports::free_port};
use tempfile::TempDir;
use tokio::{
    process::Child,
    time::{Instant, sleep, timeout},
};

/// The first start of the servers takes some 15 s on an idle machine.
const START_DEADLINE: Duration = Duration::from_mins(3);

const RECOVERY_DEADLINE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn killed_processes_are_restarted_until_sigterm() {
    let mut system = System::start().await;
    assert_eq!(system.rows_of(system.register().await).await, 1);
    let env = fs::read_to_string(system.env_file()).unwrap();
    assert!(env.contains("\nTARGET_BROKER_URL=amqp://admin:"), "{env}");

    for (name, pid_line, ready_line) in [
        ("marketing", "marketing is ready (process ", "marketing is ready again (process "),
        ("MySQL", "MySQL is ready on ", "MySQL is ready again (process "),
        (
            "RabbitMQ of Marketing",
            "RabbitMQ of Marketing is ready on ",
            "RabbitMQ of Marketing is ready again (process ",
        ),
    ] {
        kill_process(system.pid_in_log(pid_line), Signal::KILL).unwrap();
        system.wait_for_log(ready_line, RECOVERY_DEADLINE).await;
        let end = format!("{name} ended by itself (signal: 9 (SIGKILL)); restarting {name} in 1 s");
        assert!(system.log().contains(&end), "{end}: {}", system.log());
        assert_eq!(system.rows_of(system.register().await).await, 1);
    }

    let marketing = system.pid_in_log("marketing is ready again (process ");
    system.stop().await;
    assert!(!Path::new(&format!("/proc/{}", marketing.as_raw_nonzero())).exists());
    assert!(!system.env_file().exists());
}

/// A running `stack up` with its own directory and ports.
struct System {
    stack: Child,
    directory: TempDir,
    client: Client,
    web_store: String,
}

impl System {
    /// Starts the program and waits until it reports that it is ready.
    async fn start() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let log = File::create(directory.path().join("up.log")).unwrap();
        let mut command = child_command(env!("CARGO_BIN_EXE_stack"));
        command.args(["up", "--fresh", "--sites", "--dir"]).arg(directory.path().join("stack"));
        let port = free_port().unwrap();
        command.args(["--web-store-port", &port.to_string()]);
        for option in ["--marketing-port", "--transformer-port", "--console-port"] {
            command.args([option, &free_port().unwrap().to_string()]);
        }
        command.stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
        let stack = command.spawn().unwrap();
        let web_store = format!("http://127.0.0.1:{port}");
        let system = Self { stack, directory, client: Client::new(), web_store };
        system.wait_for_log("Ctrl-C stops everything", START_DEADLINE).await;
        system
    }

    fn env_file(&self) -> PathBuf {
        self.directory.path().join("stack/stack.env")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("up.log")).unwrap()
    }

    async fn wait_for_log(&self, text: &str, deadline: Duration) {
        let give_up = Instant::now() + deadline;
        while !self.log().contains(text) {
            assert!(Instant::now() < give_up, "not logged within {deadline:?}: {text}\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the process id in the first line that contains `text`.
    fn pid_in_log(&self, text: &str) -> Pid {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {log}"));
        let (_, pid) = line.rsplit_once("(process ").unwrap();
        Pid::from_raw(pid.trim_end_matches(')').parse().unwrap()).unwrap()
    }

    /// Registers a customer with a new address and returns the customer's id.
    async fn register(&self) -> String {
        let customer = json!({
            "name": "Zoë Ó Dálaigh",
            "email": format!("zoe-{:016x}@example.org", rand::random::<u64>()),
            "marketing_consent": true,
        });
        let request = self.client.post(format!("{}/customers", self.web_store)).json(&customer);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        let created: Value = response.json().await.unwrap();
        created["customer_id"].as_str().unwrap().to_owned()
    }

    /// Returns how many rows of this customer Marketing has, as soon as there is one.
    async fn rows_of(&self, customer_id: String) -> i64 {
        let env = fs::read_to_string(self.env_file()).unwrap();
        let url = env.lines().find_map(|line| line.strip_prefix("MARKETING_DATABASE_URL=")).unwrap();
        let mut database = MySqlConnection::connect(url).await.unwrap();
        let give_up = Instant::now() + RECOVERY_DEADLINE;
        loop {
            let count = sqlx::query_scalar("SELECT COUNT(*) FROM customers WHERE customer_id = ?");
            let rows = count.bind(&customer_id).fetch_one(&mut database).await.unwrap();
            if rows > 0 {
                return rows;
            }
            assert!(Instant::now() < give_up, "{customer_id} has not arrived\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends SIGTERM and waits until the program has ended successfully.
    async fn stop(&mut self) {
        let pid = Pid::from_raw(self.stack.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = timeout(RECOVERY_DEADLINE, self.stack.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }
}
