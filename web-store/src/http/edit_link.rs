//! The link to a customer's details: `/customers/{customer_id}?key={edit_key}`.
//!
//! The key is in the query: browsers do not send queries to other hosts, and the service does not log them.

use crate::store::RegisteredCustomer;

pub(super) fn edit_link(customer: &RegisteredCustomer) -> String {
    format!("/customers/{}?key={}", customer.customer_id, customer.edit_key)
}

/// Returns the id and the key of a link, or `None` if one of them is missing or malformed.
pub(super) fn parse_edit_link(customer_id: &str, query: Option<&str>) -> Option<RegisteredCustomer> {
    let (_, key) = parameters(query).find(|(name, _)| *name == "key")?;
    Some(RegisteredCustomer { customer_id: customer_id.parse().ok()?, edit_key: key.parse().ok()? })
}

/// Returns whether the query has a parameter of this name.
pub(super) fn has_parameter(query: Option<&str>, name: &str) -> bool {
    parameters(query).any(|(parameter, _)| parameter == name)
}

/// Returns the names and values of a query, undecoded.
fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query.unwrap_or("").split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{edit_link, has_parameter, parse_edit_link};
    use crate::{edit_key::EditKey, store::RegisteredCustomer};

    #[test]
    fn link_leads_back_to_its_customer() {
        let customer = RegisteredCustomer { customer_id: Uuid::now_v7(), edit_key: EditKey::random() };
        let link = edit_link(&customer);
        let (path, query) = link.split_once('?').unwrap();
        let customer_id = path.strip_prefix("/customers/").unwrap();
        let parsed = parse_edit_link(customer_id, Some(query)).unwrap();
        assert_eq!((parsed.customer_id, parsed.edit_key), (customer.customer_id, customer.edit_key));
        assert!(has_parameter(Some(&format!("{query}&saved")), "saved"));
    }

    #[test]
    fn malformed_link_leads_to_no_customer() {
        let id = Uuid::now_v7().to_string();
        for query in [None, Some(""), Some("key"), Some("key="), Some("key=1"), Some("saved")] {
            assert!(parse_edit_link(&id, query).is_none(), "{query:?}");
        }
        let query = format!("key={id}");
        assert!(parse_edit_link("1", Some(&query)).is_none());
    }
}
