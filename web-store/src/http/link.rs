//! The link to a customer's details: made for whoever has registered, and read when it comes back.

use uuid::Uuid;

use crate::store::Registered;

/// The link: it has the key in its query, which other hosts are not told of and logs do not hold.
pub(super) fn link(registered: &Registered) -> String {
    format!("/customers/{}?key={}", registered.customer_id, registered.key)
}

/// Whether a request comes by the link, or by something that looks like it.
pub(super) fn has_key(query: Option<&str>) -> bool {
    parameters(query).any(|(name, _)| name == "key")
}

/// Whose details a link leads to, and the key to them; `None` if it is no link.
pub(super) fn whose(customer_id: &str, query: Option<&str>) -> Option<Registered> {
    let (_, key) = parameters(query).find(|(name, _)| *name == "key")?;
    Some(Registered { customer_id: customer_id.parse::<Uuid>().ok()?, key: key.parse().ok()? })
}

/// The query's names and values, as they are.
pub(super) fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query.unwrap_or("").split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
