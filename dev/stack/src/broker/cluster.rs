//! A cluster of private nodes: formation, partitions, and maintenance.

use std::{fs, path::Path};

use anyhow::Context;

use super::{Broker, DEADLINE, Node};
use crate::{
    broker_files,
    ports::{BrokerPorts, free_port},
};

/// Of a divided cluster, the part with fewer than half of the nodes stops and loses its clients.
const PARTITION_HANDLING: &str = "cluster_partition_handling = pause_minority\n";

impl Broker {
    /// Starts another node, which joins the cluster of this one, on new data in `directory`.
    ///
    /// # Errors
    /// Returns an error if the node does not become ready.
    pub async fn start_peer(&self, directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        let site = self.node.site;
        let ports = BrokerPorts { amqp: free_port()?, management: free_port()? };
        broker_files::copy_cookie(&self.node.directory, &directory)?;
        broker_files::write(&directory, site, ports).await?;
        broker_files::add_settings(&directory, &cluster_settings(&self.node.name))?;
        let epmd_port = self.node.epmd_port;
        let name = format!("rabbit-{}@localhost", ports.amqp);
        let node = Node { name, directory, site, ports, epmd_port, distribution_port: free_port()? };
        let process = node.launch().await?;
        Ok(Self { process, epmd: None, node })
    }

    /// Makes the node that will start on the data in `directory` able to form a cluster.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn prepare_cluster(directory: &Path) -> anyhow::Result<()> {
        broker_files::add_settings(directory, PARTITION_HANDLING)
    }

    /// Returns the name of the node in its cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// Waits until the node serves clients, for example after a partition.
    ///
    /// # Errors
    /// Returns an error if the node ends, or if it does not become ready.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        self.process.wait_ready(DEADLINE, async || self.node.is_listening().await).await
    }

    /// Cuts the node off the other nodes of its cluster, but not off its clients.
    ///
    /// # Errors
    /// Returns an error if the node does not reply.
    pub async fn isolate(&self, others: &[String]) -> anyhow::Result<()> {
        // A connection needs the same cookie on both sides.
        let cut = "erlang:set_cookie(Node, isolated), erlang:disconnect_node(Node)";
        self.for_each_node(others, cut).await
    }

    /// Ends [`Broker::isolate`]. The node then joins the others again by itself.
    ///
    /// # Errors
    /// Returns an error if the node does not reply.
    pub async fn rejoin(&self, others: &[String]) -> anyhow::Result<()> {
        self.for_each_node(others, "erlang:set_cookie(Node, erlang:get_cookie())").await
    }

    async fn for_each_node(&self, nodes: &[String], expression: &str) -> anyhow::Result<()> {
        let list = format!("['{}']", nodes.join("', '"));
        let call = format!("lists:foreach(fun(Node) -> {expression} end, {list}).");
        self.run("rabbitmqctl", &["eval", &call]).await
    }

    /// Waits until each queue works without this node.
    ///
    /// # Errors
    /// Returns an error if that is not so within two minutes.
    pub async fn wait_dispensable(&self) -> anyhow::Result<()> {
        self.run("rabbitmq-upgrade", &["--timeout", "120", "await_online_quorum_plus_one"]).await
    }

    /// Makes the node ready for its stop: it closes the connections of its clients, and passes its queues on.
    ///
    /// # Errors
    /// Returns an error if the node does not reply.
    pub async fn drain(&self) -> anyhow::Result<()> {
        // The command fails if a connection ends while it closes it (RabbitMQ 3.10).
        match self.run("rabbitmq-upgrade", &["drain"]).await {
            Ok(()) => Ok(()),
            Err(_) => self.run("rabbitmq-upgrade", &["drain"]).await,
        }
    }
}

/// Returns the settings of a node that joins the cluster of another one at its first start.
fn cluster_settings(peer: &str) -> String {
    format!(
        "{PARTITION_HANDLING}\
         cluster_formation.peer_discovery_backend = classic_config\n\
         cluster_formation.classic_config.nodes.1 = {peer}\n"
    )
}
