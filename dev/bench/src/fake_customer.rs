//! Made-up people, no two alike, in no order by name: indexes are filled as real people would fill them.

use chrono::{SubsecRound, Utc};
use contracts::CustomerRegistered;
use uuid::Uuid;

/// A name of 16 characters and a surname.
pub(super) const USUAL_NAME: usize = 24;

/// Odd, so multiplying by it meets every number once; the golden ratio's bits scatter neighbours.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) struct FakeCustomer {
    pub(super) name: String,
    pub(super) email: String,
}

impl FakeCustomer {
    /// The `n`th of those who come, with so many characters in their name; 24 at least, 200 at most.
    pub(super) fn new(n: u64, name_characters: usize) -> Self {
        let mut name = format!("{:016x} FakeCustomer", n.wrapping_mul(SCATTER));
        let more = name_characters.saturating_sub(name.len());
        let email = format!("{}@example.org", &name[..16]);
        name.extend(std::iter::repeat_n('王', more));
        Self { name, email }
    }

    /// Measurement a form sends, as JSON.
    pub(super) fn request(&self) -> String {
        format!(r#"{{"name":"{}","email":"{}","marketing_consent":true}}"#, self.name, self.email)
    }

    /// The event that tells of them.
    pub(super) fn event(&self) -> CustomerRegistered {
        CustomerRegistered {
            customer_id: Uuid::now_v7(),
            name: self.name.clone(),
            email: self.email.clone(),
            marketing_consent: true,
            registered_at: Utc::now().trunc_subsecs(6),
        }
    }
}
