//! A client of the broker's management API, for one virtual host: what an administrator may do.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::{Client, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use stack::connection_urls::{ConnectionUrls, PASSWORD};

/// The administrator's view of one virtual host. Every method panics if the broker does not answer.
#[derive(Debug)]
pub struct Management {
    client: Client,
    port: u16,
    virtual_host: String,
}

/// What is in a queue. The numbers are up to a second old.
#[derive(Clone, Debug, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// All messages: ready and unacknowledged.
    #[serde(default)]
    pub messages: u64,
    /// Waiting for a consumer.
    #[serde(default)]
    pub messages_ready: u64,
    /// With a consumer, not yet acknowledged.
    #[serde(default)]
    pub messages_unacknowledged: u64,
    /// How many consume from it.
    #[serde(default)]
    pub consumers: u64,
}

/// A message as the management API shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// The body, if it is UTF-8; otherwise its Base64.
    pub payload: String,
    /// `string` or `base64`.
    pub payload_encoding: String,
    /// The AMQP basic properties; `headers` among them.
    pub properties: Value,
    /// The routing key that it was published with.
    pub routing_key: String,
}

impl Message {
    /// The body as it was sent.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        if self.payload_encoding == "base64" {
            BASE64_STANDARD.decode(&self.payload).expect("Base64")
        } else {
            self.payload.clone().into_bytes()
        }
    }
}

impl Management {
    pub(super) fn of(addresses: &ConnectionUrls) -> Self {
        Self {
            client: Client::new(),
            port: addresses.ports.management,
            virtual_host: addresses.virtual_host.replace('/', "%2f"),
        }
    }

    /// The queues by name.
    pub async fn queues(&self) -> BTreeMap<String, Queue> {
        self.try_queues().await.expect("the list of queues")
    }

    pub async fn try_queues(&self) -> Result<BTreeMap<String, Queue>> {
        let queues: Vec<Queue> = self.get(&self.within("queues")).await?;
        Ok(queues.into_iter().map(|queue| (queue.name.clone(), queue)).collect())
    }

    /// How many messages a queue holds, ready or not; 0 if there is no such queue. Up to a second old.
    pub async fn depth(&self, queue: &str) -> u64 {
        self.queues().await.get(queue).map_or(0, |queue| queue.messages)
    }

    /// Takes up to `count` messages out of a queue.
    pub async fn take(&self, queue: &str, count: u32) -> Vec<Message> {
        let how = json!({ "count": count, "ackmode": "ack_requeue_false", "encoding": "auto" });
        let path = self.within(&format!("queues/{{}}/{queue}/get"));
        let messages = self.send(Method::POST, &path, Some(how)).await.expect("messages of the queue");
        serde_json::from_value(messages).expect("messages of the known shape")
    }

    /// Throws away what is ready in a queue.
    pub async fn purge(&self, queue: &str) {
        let path = self.within(&format!("queues/{{}}/{queue}/contents"));
        self.send(Method::DELETE, &path, None).await.expect("the queue purged");
    }

    /// Deletes a queue with all that is in it.
    pub async fn delete_queue(&self, queue: &str) {
        self.try_delete_queue(queue).await.expect("the queue deleted");
    }

    pub async fn try_delete_queue(&self, queue: &str) -> Result<()> {
        let path = self.within(&format!("queues/{{}}/{queue}"));
        self.send(Method::DELETE, &path, None).await.map(drop)
    }

    /// The names of all connections to this virtual host.
    pub async fn connections(&self) -> Vec<String> {
        self.try_connections().await.expect("the list of connections")
    }

    async fn try_connections(&self) -> Result<Vec<String>> {
        let connections: Vec<Value> = self.get(&self.within("vhosts/{}/connections")).await?;
        Ok(connections.iter().filter_map(|one| Some(one["name"].as_str()?.to_owned())).collect())
    }

    /// Closes all connections to this virtual host; says how many there were.
    pub async fn close_connections(&self) -> usize {
        self.try_close_connections().await.expect("the connections closed")
    }

    pub async fn try_close_connections(&self) -> Result<usize> {
        let names = self.try_connections().await?;
        for name in &names {
            let path = format!("connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
            // One that has gone by itself is closed just as well.
            let _ = self.send(Method::DELETE, &path, None).await;
        }
        Ok(names.len())
    }

    /// Makes the virtual host, with the same rights on it as on `/`.
    pub(super) async fn create_virtual_host(&self) -> Result<()> {
        self.send(Method::PUT, &self.within("vhosts/{}"), None).await?;
        let rights: Vec<Value> = self.get("vhosts/%2f/permissions").await?;
        for right in rights {
            let user = right["user"].as_str().context("rights without a user")?;
            let path = self.within(&format!("permissions/{{}}/{user}"));
            self.send(Method::PUT, &path, Some(right.clone())).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_virtual_host(&self) -> Result<()> {
        self.send(Method::DELETE, &self.within("vhosts/{}"), None).await?;
        Ok(())
    }

    /// A path with the virtual host in the place of `{}`, or at the end.
    fn within(&self, path: &str) -> String {
        if path.contains("{}") {
            path.replace("{}", &self.virtual_host)
        } else {
            format!("{path}/{}", self.virtual_host)
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let value = self.send(Method::GET, path, None).await?;
        serde_json::from_value(value).with_context(|| format!("the shape of {path}"))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/{path}", self.port);
        let request = self.client.request(method, url).basic_auth("admin", Some(PASSWORD));
        let request = request.json(&body.unwrap_or_else(|| json!({})));
        let answer = request.send().await?.error_for_status()?.bytes().await?;
        // Most changes are answered with nothing.
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? })
    }
}
