//! The output of `stack up` when all services are ready: text for users, and `stack.env` for programs.

use std::{env, path::Path};

use crate::{
    command::find_program,
    connection_urls::{ConnectionUrls, PASSWORD},
    console::Console,
    service::{Program, Service, sibling_program},
};

/// Returns the text for users: the pages, and commands to try.
pub(crate) fn banner(
    urls: &ConnectionUrls,
    services: &[Service],
    console: &Console,
    env_file: &Path,
) -> String {
    let page = console.url();
    let web_store = url_of(services, Program::WebStore);
    let transformer = url_of(services, Program::Transformer);
    let marketing = url_of(services, Program::Marketing);
    let management = |port: u16| format!("http://127.0.0.1:{port}     log in as admin, password {PASSWORD}");
    let broker = match urls.ports.marketing_broker {
        None => format!("RabbitMQ     {}", management(urls.ports.management)),
        Some(marketing) => format!(
            "RabbitMQ     {}, of the Web Store\n  \
             RabbitMQ     {}, of Marketing",
            management(urls.ports.management),
            management(marketing.management)
        ),
    };
    let mysql = urls.ports.mysql;
    let client = if find_program("mariadb").is_ok() { "mariadb" } else { "mysql" };
    let marketing_process = find(services, Program::Marketing).map_or(0, |service| service.process.pid());
    format!(
        "ready

  Web Store    {web_store}      register a customer
  Marketing    {marketing}      list of customers, password {PASSWORD}
  console      {page}      the whole system, password {PASSWORD}
  transformer  {transformer}
  {broker}

  Show Marketing's table:
  {client} --host=127.0.0.1 --port={mysql} --user=marketing_owner --password={PASSWORD} \
         --default-character-set=utf8mb4 marketing --execute='SELECT * FROM customers'
{reconcile}
  Every process that ends is restarted. Try:
  kill -9 {marketing_process}

  Ctrl-C stops everything and keeps the data.
",
        reconcile = reconcile_command(env_file).unwrap_or_default(),
    )
}

/// Returns the command that compares the two lists of customers, if the console is built.
fn reconcile_command(env_file: &Path) -> Option<String> {
    let console = sibling_program("console").ok()?;
    let directory = env::current_dir().ok()?;
    let [console, env_file] =
        [&console, env_file].map(|path| path.strip_prefix(&directory).unwrap_or(path).display());
    Some(format!(
        "
  Check that every customer of the Web Store has arrived in Marketing:
  (set -a; . {env_file}; exec {console} reconcile)
"
    ))
}

/// Returns the text of `stack.env`: lines of the form `NAME=value`.
pub(crate) fn stack_env(urls: &ConnectionUrls, services: &[Service], console: &Console) -> String {
    let web_store = url_of(services, Program::WebStore);
    let transformer = url_of(services, Program::Transformer);
    let marketing = url_of(services, Program::Marketing);
    let broker = urls.broker_url("admin");
    let web_store_database = urls.web_store_database_url("web_store_owner");
    let marketing_database = urls.marketing_database_url("marketing_owner");
    let metrics = |program| find(services, program).and_then(Service::metrics_url).unwrap_or_default();
    let [web_store_metrics, transformer_metrics, marketing_metrics] =
        [Program::WebStore, Program::Transformer, Program::Marketing].map(metrics);
    let console_url = console.url();
    let console_metrics = console.metrics_url().unwrap_or_default();
    let target = urls.target_setting("TARGET_BROKER_URL", "admin");
    let target = target.map(|(name, url)| format!("{name}={url}\n")).unwrap_or_default();
    format!(
        "WEB_STORE_URL={web_store}\n\
         TRANSFORMER_URL={transformer}\n\
         MARKETING_URL={marketing}\n\
         BROKER_URL={broker}\n\
         {target}\
         WEB_STORE_DATABASE_URL={web_store_database}\n\
         MARKETING_DATABASE_URL={marketing_database}\n\
         WEB_STORE_METRICS_URL={web_store_metrics}\n\
         TRANSFORMER_METRICS_URL={transformer_metrics}\n\
         MARKETING_METRICS_URL={marketing_metrics}\n\
         CONSOLE_METRICS_URL={console_metrics}\n\
         CONSOLE_URL={console_url}\n"
    )
}

fn url_of(services: &[Service], program: Program) -> String {
    find(services, program).map(Service::url).unwrap_or_default()
}

fn find(services: &[Service], program: Program) -> Option<&Service> {
    services.iter().find(|service| service.process.name() == program.name())
}
