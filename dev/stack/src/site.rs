//! The sites whose applications use a broker.

/// The applications that use a broker. The transformer and the console use the brokers of both sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Both applications share the broker.
    Both,
    /// The Web Store has a broker of its own.
    WebStore,
    /// Marketing has a broker of its own.
    Marketing,
}

impl Site {
    /// Returns the value of `BROKER_SITE` for `deploy/servers/rabbitmq-definitions.sh`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::WebStore => "web-store",
            Self::Marketing => "marketing",
        }
    }

    /// Returns the name of the broker in messages.
    pub(crate) fn broker_name(self) -> &'static str {
        match self {
            Self::Both => "RabbitMQ",
            Self::WebStore => "RabbitMQ of the Web Store",
            Self::Marketing => "RabbitMQ of Marketing",
        }
    }
}
