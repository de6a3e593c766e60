//! The files that a private RabbitMQ node reads: its settings, its users and rights, its cookie.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rand::RngExt;

use crate::command::{child_command, run_tool};
use crate::connection_urls::PASSWORD;

const DEFINITIONS: &str = include_str!("../../../deploy/servers/rabbitmq-definitions.sh");

/// The numbers of a queue come every half second instead of every five, for those who watch a drill.
const ADVANCED: &str = "[{rabbit, [{quorum_tick_interval, 500}]}].\n";

/// Writes them into the node's directory. Those that are there are made anew, but for the cookie.
pub(crate) async fn write(directory: &Path, port: u16, management_port: u16) -> Result<()> {
    let definitions = directory.join("definitions.json");
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    put("definitions.json", &print_definitions().await?)?;
    put("rabbitmq.conf", &settings(port, management_port, &definitions))?;
    put("advanced.config", ADVANCED)?;
    put("enabled_plugins", "[rabbitmq_management].\n")?;
    fs::create_dir_all(directory.join("conf.d"))?;
    write_cookie(&directory.join(".erlang.cookie"))
}

fn settings(port: u16, management_port: u16, definitions: &Path) -> String {
    format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management_port}\n\
         load_definitions = {}\n\
         collect_statistics_interval = 500\n\
         log.console.level = info\n",
        definitions.display()
    )
}

async fn print_definitions() -> Result<String> {
    let mut script = child_command("sh");
    script.args(["-c", DEFINITIONS]);
    for user in ["BROKER_ADMIN", "WEB_STORE_BROKER", "TRANSFORMER_BROKER", "MARKETING_BROKER"] {
        script.env(format!("{user}_PASSWORD"), PASSWORD);
    }
    run_tool("making the broker's definitions", &mut script).await
}

/// Whoever knows the cookie may command the node, so Erlang wants it readable by its owner alone.
fn write_cookie(path: &Path) -> Result<()> {
    if !path.exists() {
        let cookie: String = (0..20).map(|_| char::from(rand::rng().random_range(b'A'..=b'Z'))).collect();
        fs::write(path, cookie)?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o400))?;
    Ok(())
}
