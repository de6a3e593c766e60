//! What `stack up` tells when all is ready: to people, and to programs in `stack.env`.

use crate::connection_urls::{ConnectionUrls, PASSWORD};
use crate::installed;
use crate::service::{Program, Service};

/// For people: where to look, and the command that shows Marketing's table.
pub(crate) fn welcome(addresses: &ConnectionUrls, services: &[Service]) -> String {
    let web_store = url(services, Program::WebStore);
    let transformer = url(services, Program::Transformer);
    let marketing = url(services, Program::Marketing);
    let (management, mysql) = (addresses.ports.management, addresses.ports.mysql);
    let client = if installed::find("mariadb").is_ok() { "mariadb" } else { "mysql" };
    format!(
        "ready

  Web Store    {web_store}      register a customer here
  Marketing    {marketing}      look into its list of customers, password {PASSWORD}
  transformer  {transformer}
  RabbitMQ     http://127.0.0.1:{management}     log in as admin, password {PASSWORD}

  Marketing's table:
  {client} --host=127.0.0.1 --port={mysql} --user=marketing_owner --password={PASSWORD} \
         --default-character-set=utf8mb4 marketing --execute='SELECT * FROM customers'

  Ctrl-C stops everything and keeps the data.
"
    )
}

/// For programs: `KEY=value` lines.
pub(crate) fn stack_env(addresses: &ConnectionUrls, services: &[Service]) -> String {
    let web_store = url(services, Program::WebStore);
    let transformer = url(services, Program::Transformer);
    let marketing = url(services, Program::Marketing);
    let broker = addresses.broker_url("admin");
    let web_store_database = addresses.web_store_database_url("web_store_owner");
    let marketing_database = addresses.marketing_database_url("marketing_owner");
    format!(
        "WEB_STORE_URL={web_store}\n\
         TRANSFORMER_URL={transformer}\n\
         MARKETING_URL={marketing}\n\
         BROKER_URL={broker}\n\
         WEB_STORE_DATABASE_URL={web_store_database}\n\
         MARKETING_DATABASE_URL={marketing_database}\n"
    )
}

fn url(services: &[Service], program: Program) -> String {
    let service = services.iter().find(|service| service.process.name() == program.name());
    service.map(Service::url).unwrap_or_default()
}
