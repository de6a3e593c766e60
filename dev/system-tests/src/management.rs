//! A client of the broker's management API, for one virtual host, with an administrator's permissions.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::{Client, Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stack::connection_urls::{ConnectionUrls, PASSWORD};

use crate::{SOON, eventually};

/// An administrator's client for one virtual host.
///
/// Each method returns an error if the broker is unavailable or refuses the request.
#[derive(Debug)]
pub struct Management {
    client: Client,
    port: u16,
    virtual_host: String,
}

/// The state of a queue. The numbers are up to one second old.
#[derive(Debug, Clone, Deserialize)]
pub struct Queue {
    /// The queue's name.
    pub name: String,
    /// The number of messages, ready and unacknowledged.
    #[serde(default)]
    pub messages: u64,
    /// The number of messages that wait for a consumer.
    #[serde(default)]
    pub messages_ready: u64,
    /// The number of messages that a consumer has received and not yet acknowledged.
    #[serde(default)]
    pub messages_unacknowledged: u64,
    /// The number of consumers.
    #[serde(default)]
    pub consumers: u64,
    /// The names of the nodes that replicate the queue.
    #[serde(default)]
    pub members: Vec<String>,
}

/// A message in the format of the management API.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// The body if it is UTF-8, or else its Base64 encoding.
    pub payload: String,
    /// `string` or `base64`.
    pub payload_encoding: String,
    /// The AMQP basic properties, `headers` among them.
    pub properties: Value,
    /// The routing key of the publish.
    pub routing_key: String,
    /// Whether the broker has delivered the message before.
    pub redelivered: bool,
}

impl Message {
    /// Returns the body as it was published.
    ///
    /// # Errors
    /// Returns an error if the payload is not in the encoding that the broker has named.
    pub fn body(&self) -> anyhow::Result<Vec<u8>> {
        match self.payload_encoding.as_str() {
            "string" => Ok(self.payload.clone().into_bytes()),
            "base64" => Ok(BASE64_STANDARD.decode(&self.payload)?),
            other => bail!("unknown payload encoding {other}"),
        }
    }
}

#[expect(clippy::missing_errors_doc, reason = "the errors of all methods are described at the type")]
impl Management {
    /// Returns a client for the broker of the Web Store, which Marketing may share.
    pub(crate) fn new(urls: &ConnectionUrls) -> Self {
        Self::of(urls.ports.management, &urls.virtual_host)
    }

    /// Returns a client for the broker of Marketing.
    pub(crate) fn of_marketing(urls: &ConnectionUrls) -> Self {
        Self::of(urls.ports.broker_of_marketing().management, &urls.marketing_virtual_host)
    }

    fn of(port: u16, virtual_host: &str) -> Self {
        Self { client: Client::new(), port, virtual_host: virtual_host.replace('/', "%2f") }
    }

    /// Returns the queues by name.
    pub async fn queues(&self) -> anyhow::Result<BTreeMap<String, Queue>> {
        let queues: Vec<Queue> = self.get(&self.path("queues/{}")).await?;
        Ok(queues.into_iter().map(|queue| (queue.name.clone(), queue)).collect())
    }

    /// Returns the number of messages in a queue, ready or not, and 0 if the queue does not exist.
    ///
    /// The number is up to one second old.
    pub async fn depth(&self, queue: &str) -> anyhow::Result<u64> {
        Ok(self.queues().await?.get(queue).map_or(0, |queue| queue.messages))
    }

    /// Returns the number of messages that a queue has delivered again.
    pub async fn redeliveries(&self, queue: &str) -> anyhow::Result<u64> {
        let state = self.get::<Value>(&self.path(&format!("queues/{{}}/{queue}"))).await?;
        Ok(state["message_stats"]["redeliver"].as_u64().unwrap_or(0))
    }

    /// Waits up to [`SOON`] until a queue holds exactly `messages` messages, ready or not.
    pub async fn wait_for_depth(&self, queue: &str, messages: u64) -> anyhow::Result<()> {
        let condition = format!("{messages} messages in {queue}");
        eventually(SOON, &condition, async || (self.depth(queue).await.ok()? == messages).then_some(())).await
    }

    /// Removes up to `count` messages from a queue and returns them.
    pub async fn take(&self, queue: &str, count: u32) -> anyhow::Result<Vec<Message>> {
        let parameters = json!({ "count": count, "ackmode": "ack_requeue_false", "encoding": "auto" });
        let path = self.path(&format!("queues/{{}}/{queue}/get"));
        let messages = self.send(Method::POST, &path, Some(parameters)).await?;
        serde_json::from_value(messages).context("unexpected format of messages")
    }

    /// Removes all ready messages from a queue.
    pub async fn purge(&self, queue: &str) -> anyhow::Result<()> {
        let path = self.path(&format!("queues/{{}}/{queue}/contents"));
        self.send(Method::DELETE, &path, None).await.map(drop)
    }

    /// Deletes a queue and all its messages, if the queue exists.
    pub async fn delete_queue(&self, queue: &str) -> anyhow::Result<()> {
        self.delete(&format!("queues/{{}}/{queue}")).await
    }

    /// Declares a durable queue, as another application does.
    pub async fn declare_queue(&self, queue: &str, arguments: Value) -> anyhow::Result<()> {
        let path = self.path(&format!("queues/{{}}/{queue}"));
        let definition = json!({ "durable": true, "arguments": arguments });
        self.send(Method::PUT, &path, Some(definition)).await.map(drop)
    }

    /// Deletes an exchange and its bindings, if the exchange exists.
    pub async fn delete_exchange(&self, exchange: &str) -> anyhow::Result<()> {
        self.delete(&format!("exchanges/{{}}/{exchange}")).await
    }

    /// Binds a queue to an exchange.
    pub async fn bind(&self, queue: &str, exchange: &str, routing_key: &str) -> anyhow::Result<()> {
        let path = self.path(&format!("bindings/{{}}/e/{exchange}/q/{queue}"));
        self.send(Method::POST, &path, Some(json!({ "routing_key": routing_key }))).await.map(drop)
    }

    /// Removes a binding, if it exists.
    pub async fn unbind(&self, queue: &str, exchange: &str, routing_key: &str) -> anyhow::Result<()> {
        // The API encodes the key once more than the address does.
        let key = routing_key.replace('*', "%252A");
        self.delete(&format!("bindings/{{}}/e/{exchange}/q/{queue}/{key}")).await
    }

    /// Sets a policy for the queues whose name matches the pattern.
    pub async fn set_policy(&self, name: &str, pattern: &str, definition: Value) -> anyhow::Result<()> {
        let policy = json!({ "pattern": pattern, "apply-to": "queues", "definition": definition });
        self.send(Method::PUT, &self.path(&format!("policies/{{}}/{name}")), Some(policy)).await.map(drop)
    }

    /// Returns the definition of the policy that applies to a queue.
    pub async fn effective_policy(&self, queue: &str) -> anyhow::Result<Value> {
        let state = self.get::<Value>(&self.path(&format!("queues/{{}}/{queue}"))).await?;
        Ok(state["effective_policy_definition"].clone())
    }

    /// Deletes a policy, if it exists.
    pub async fn delete_policy(&self, name: &str) -> anyhow::Result<()> {
        self.delete(&format!("policies/{{}}/{name}")).await
    }

    /// Returns the permissions that a user has on a new virtual host, as [`Management::set_permissions`] takes
    /// them.
    pub async fn initial_permissions(&self, user: &str) -> anyhow::Result<Value> {
        self.get(&format!("permissions/%2f/{user}")).await
    }

    /// Changes the password of a user, which keeps its permissions and its open connections.
    pub async fn set_password(&self, user: &str, password: &str) -> anyhow::Result<()> {
        let body = json!({ "password": password, "tags": "" });
        self.send(Method::PUT, &format!("users/{user}"), Some(body)).await.map(drop)
    }

    /// Sets the patterns of names that a user may configure, write, and read. Open connections keep what they
    /// have checked before.
    pub async fn set_permissions(&self, user: &str, permissions: Value) -> anyhow::Result<()> {
        let path = self.path(&format!("permissions/{{}}/{user}"));
        self.send(Method::PUT, &path, Some(permissions)).await.map(drop)
    }

    /// Returns the names of all connections to this virtual host.
    pub async fn connections(&self) -> anyhow::Result<Vec<String>> {
        self.connections_if(|_| true).await
    }

    async fn connections_if(&self, is_selected: impl Fn(&Value) -> bool) -> anyhow::Result<Vec<String>> {
        let connections: Vec<Value> = self.get(&self.path("vhosts/{}/connections")).await?;
        let selected = connections.iter().filter(|one| is_selected(one));
        Ok(selected.filter_map(|one| Some(one["name"].as_str()?.to_owned())).collect())
    }

    /// Returns the name of the node for each connection to this virtual host.
    pub async fn nodes_of_connections(&self) -> anyhow::Result<Vec<String>> {
        let connections: Vec<Value> = self.get(&self.path("vhosts/{}/connections")).await?;
        Ok(connections.iter().filter_map(|one| Some(one["node"].as_str()?.to_owned())).collect())
    }

    /// Closes all connections to this virtual host and returns their number.
    pub async fn close_connections(&self) -> anyhow::Result<usize> {
        self.close(self.connections().await?).await
    }

    /// Closes the connections of a user to this virtual host and returns their number.
    pub async fn close_connections_of(&self, user: &str) -> anyhow::Result<usize> {
        self.close(self.connections_if(|one| one["user"] == user).await?).await
    }

    async fn close(&self, names: Vec<String>) -> anyhow::Result<usize> {
        for name in &names {
            let path = format!("connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
            // The broker refuses to close a connection that its client has closed meanwhile.
            let _ = self.send(Method::DELETE, &path, None).await;
        }
        Ok(names.len())
    }

    /// Creates the virtual host, with the same permissions and policies as `/`.
    pub async fn create_virtual_host(&self) -> anyhow::Result<()> {
        self.send(Method::PUT, &self.path("vhosts/{}"), None).await?;
        let permissions: Vec<Value> = self.get("vhosts/%2f/permissions").await?;
        for permission in permissions {
            let user = permission["user"].as_str().context("a permission without a user")?;
            self.set_permissions(user, permission.clone()).await?;
        }
        let policies: Vec<Value> = self.get("policies/%2f").await?;
        for policy in policies {
            let name = policy["name"].as_str().context("a policy without a name")?;
            self.send(Method::PUT, &self.path(&format!("policies/{{}}/{name}")), Some(policy.clone()))
                .await?;
        }
        Ok(())
    }

    /// Replaces the permissions of all users by those of a broker's definitions.
    pub async fn replace_permissions(&self, definitions: &str) -> anyhow::Result<()> {
        let definitions: Value = serde_json::from_str(definitions)?;
        let permissions = definitions["permissions"].as_array().context("definitions without permissions")?;
        let former: Vec<Value> = self.get(&self.path("vhosts/{}/permissions")).await?;
        for user in former.iter().filter_map(|permission| permission["user"].as_str()) {
            self.delete(&format!("permissions/{{}}/{user}")).await?;
        }
        for permission in permissions {
            let user = permission["user"].as_str().context("a permission without a user")?;
            self.set_permissions(user, permission.clone()).await?;
        }
        Ok(())
    }

    /// Deletes the virtual host with all its queues and messages.
    pub async fn delete_virtual_host(&self) -> anyhow::Result<()> {
        self.send(Method::DELETE, &self.path("vhosts/{}"), None).await.map(drop)
    }

    /// Returns the path with the virtual host in place of `{}`.
    fn path(&self, template: &str) -> String {
        template.replace("{}", &self.virtual_host)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let value = self.send(Method::GET, path, None).await?;
        serde_json::from_value(value).with_context(|| format!("unexpected format of {path}"))
    }

    /// Deletes an object, if it exists.
    async fn delete(&self, path: &str) -> anyhow::Result<()> {
        match self.send(Method::DELETE, &self.path(path), None).await {
            Err(error) if is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/{path}", self.port);
        let request = self.client.request(method, url).basic_auth("admin", Some(PASSWORD));
        let request = request.json(&body.unwrap_or_else(|| json!({})));
        let response = request.send().await?.error_for_status()?.bytes().await?;
        // Most changes have an empty response.
        Ok(if response.is_empty() { Value::Null } else { serde_json::from_slice(&response)? })
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let status = error.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::status);
    status == Some(StatusCode::NOT_FOUND)
}
