//! Generated customers: all different, and in no order by name, so that indexes fill as in real use.

use chrono::{SubsecRound, Utc};
use contracts::CustomerRegistered;
use uuid::Uuid;

/// The characters of a usual name: 16 hexadecimal digits and a surname.
pub(crate) const USUAL_NAME: usize = 24;

/// Odd, so that multiplication maps each number to a different one. The bits of the golden ratio scatter
/// neighbors.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) struct FakeCustomer {
    pub(crate) name: String,
    pub(crate) email: String,
}

impl FakeCustomer {
    /// Returns the customer with number `n`, whose name has `name_characters` characters (24 to 200).
    pub(crate) fn new(n: u64, name_characters: usize) -> Self {
        let mut name = format!("{:016x} Visitor", n.wrapping_mul(SCATTER));
        let padding = name_characters.saturating_sub(name.len());
        let email = format!("{}@example.org", &name[..16]);
        name.extend(std::iter::repeat_n('王', padding));
        Self { name, email }
    }

    /// Returns the body of a registration request, as JSON.
    pub(crate) fn request(&self) -> String {
        format!(r#"{{"name":"{}","email":"{}","marketing_consent":true}}"#, self.name, self.email)
    }

    /// Returns the event of this customer's registration, with a new id.
    pub(crate) fn event(&self) -> CustomerRegistered {
        CustomerRegistered {
            customer_id: Uuid::now_v7(),
            name: self.name.clone(),
            email: self.email.clone(),
            marketing_consent: true,
            registered_at: Utc::now().trunc_subsecs(6),
        }
    }
}
