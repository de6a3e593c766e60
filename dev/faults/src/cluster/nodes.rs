//! The three nodes of the cluster.

use anyhow::Context;
use stack::broker::Broker;
use system_tests::TestEnvironment;

pub(super) const NODES: usize = 3;

pub(super) struct Nodes(pub(super) [Broker; NODES]);

impl Nodes {
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|node| node.name().to_owned()).collect()
    }

    /// Returns the URLs of all nodes for a user, as one setting.
    pub(super) fn urls(&self, environment: &TestEnvironment, user: &str) -> String {
        environment.connection_urls().broker_urls(user, &self.0.each_ref().map(|node| node.ports().amqp))
    }

    /// Returns the names of all nodes except one.
    pub(super) fn others(&self, index: usize) -> Vec<String> {
        let mut names = self.names();
        names.remove(index);
        names
    }

    /// Returns the index of the node with the most connections of services.
    pub(super) async fn busiest(&self, environment: &TestEnvironment) -> anyhow::Result<usize> {
        let nodes = environment.management().nodes_of_connections().await?;
        let connections = |index: &usize| nodes.iter().filter(|node| *node == self.0[*index].name()).count();
        (0..NODES).max_by_key(connections).context("there is no node")
    }
}
