//! The files that a private RabbitMQ node reads: settings, users and permissions, and its cookie.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::Context;
use rand::RngExt;

use crate::{
    command::{child_command, run_tool},
    connection_urls::PASSWORD,
    ports::BrokerPorts,
    site::Site,
};

const DEFINITIONS_SCRIPT: &str = include_str!("../../../deploy/servers/rabbitmq-definitions.sh");

const SHARED_SETTINGS: &str = include_str!("../../../deploy/servers/rabbitmq.conf");

/// Queue statistics are updated every half second instead of every five seconds, so that tests wait less.
const ADVANCED_CONFIG: &str = "[{rabbit, [{quorum_tick_interval, 500}]}].\n";

const COOKIE: &str = ".erlang.cookie";

/// Writes all files into the node's directory. An existing cookie is kept; other files are replaced.
pub(crate) async fn write(directory: &Path, site: Site, ports: BrokerPorts) -> anyhow::Result<()> {
    let definitions = directory.join("definitions.json");
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    put("definitions.json", &self::definitions(site).await?)?;
    put("rabbitmq.conf", &settings(ports, &definitions))?;
    put("advanced.config", ADVANCED_CONFIG)?;
    put("enabled_plugins", "[rabbitmq_management].\n")?;
    fs::create_dir_all(directory.join("conf.d"))?;
    write_cookie(&directory.join(COOKIE))
}

/// Adds settings to the node's directory, in a file of their own.
pub(crate) fn add_settings(directory: &Path, text: &str) -> anyhow::Result<()> {
    let directory = directory.join("conf.d");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let path = directory.join("20-cluster.conf");
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// Copies the cookie of a node, which all nodes of its cluster need.
pub(crate) fn copy_cookie(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from.join(COOKIE), to.join(COOKIE)).context("cannot copy the cookie")?;
    Ok(())
}

fn settings(ports: BrokerPorts, definitions: &Path) -> String {
    let BrokerPorts { amqp, management } = ports;
    format!(
        "{SHARED_SETTINGS}\
         listeners.tcp.1 = 127.0.0.1:{amqp}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         load_definitions = {}\n\
         collect_statistics_interval = 500\n\
         log.console.level = info\n",
        definitions.display()
    )
}

/// Returns the users of a broker, their permissions, and its policies, in the format of RabbitMQ's definitions.
pub(crate) async fn definitions(site: Site) -> anyhow::Result<String> {
    let mut script = child_command("sh");
    script.args(["-c", DEFINITIONS_SCRIPT]).env("BROKER_SITE", site.name());
    let users =
        ["BROKER_ADMIN", "WEB_STORE_BROKER", "TRANSFORMER_BROKER", "MARKETING_BROKER", "CONSOLE_BROKER"];
    for user in users {
        script.env(format!("{user}_PASSWORD"), PASSWORD);
    }
    run_tool("generation of the broker's definitions", &mut script).await
}

/// Creates the cookie if it is missing. A program with the cookie can control the node, so Erlang requires
/// that only its owner can read it.
fn write_cookie(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        let cookie: String = (0..20).map(|_| char::from(rand::rng().random_range(b'A'..=b'Z'))).collect();
        fs::write(path, cookie)?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o400))?;
    Ok(())
}
