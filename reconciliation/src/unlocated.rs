//! Customers that differ between both tables, and whose events are not in the outbox.

use readers::web_store::Customer;
use uuid::Uuid;

use crate::{comparison::Comparison, dead_letters::DeadLetter, report::State};

/// The maximum of customers in one window. Each takes 48 bytes.
pub(crate) const MAX_WINDOW: usize = 100_000;

/// A customer that differs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unlocated {
    pub(crate) id: Uuid,
    /// The version of the Web Store.
    pub(crate) version: i64,
    /// The version of Marketing, or `None` without a row.
    pub(crate) marketing: Option<i64>,
    /// The state as soon as it is certain.
    state: Option<State>,
    /// The index of the reason of a dead letter with the version.
    letter: Option<u8>,
}

/// Customers sorted by id. Large losses are settled in several windows, so the memory does not grow with them.
#[derive(Debug, Default)]
pub struct Window {
    customers: Vec<Unlocated>,
    reasons: Vec<String>,
}

impl Window {
    /// Adds a customer. The ids must ascend.
    pub fn push(&mut self, customer: &Customer, marketing: Option<i64>) {
        let Customer { id, version, .. } = *customer;
        self.customers.push(Unlocated { id, version, marketing, state: None, letter: None });
    }

    pub(crate) fn is_full(&self) -> bool {
        self.customers.len() >= MAX_WINDOW
    }

    /// Returns whether the state of each customer is certain.
    pub(crate) fn is_complete(&self) -> bool {
        self.customers.iter().all(|customer| customer.state.is_some())
    }

    /// Returns whether each customer has a state or a dead letter, so that no message needs to be followed.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        self.customers.iter().all(|customer| customer.state.is_some() || customer.letter.is_some())
    }

    /// Returns the customers with their versions in the Web Store.
    pub fn versions(&self) -> impl Iterator<Item = (Uuid, i64)> {
        self.customers.iter().map(|customer| (customer.id, customer.version))
    }

    /// Returns up to `limit` ids after `after` whose state is open.
    pub(crate) fn open(&self, after: Uuid, limit: u32) -> Vec<Uuid> {
        self.select(after, limit, |customer| customer.state.is_none())
    }

    /// Returns up to `limit` ids after `after` whose state is open, and of which Marketing has a newer version.
    pub(crate) fn newer_in_marketing(&self, after: Uuid, limit: u32) -> Vec<Uuid> {
        self.select(after, limit, |customer| customer.state.is_none() && customer.is_ahead())
    }

    fn select(&self, after: Uuid, limit: u32, filter: impl Fn(&Unlocated) -> bool) -> Vec<Uuid> {
        let first = self.customers.partition_point(|customer| customer.id <= after);
        let selected = self.customers[first..].iter().filter(|customer| filter(customer));
        selected.map(|customer| customer.id).take(limit as usize).collect()
    }

    /// Returns the customer with this id, if its state is open.
    fn find(&mut self, id: Uuid) -> Option<&mut Unlocated> {
        let index = self.customers.binary_search_by_key(&id, |customer| customer.id).ok()?;
        Some(&mut self.customers[index]).filter(|customer| customer.state.is_none())
    }

    /// Returns the version of a customer whose state is open.
    pub(crate) fn version(&mut self, id: Uuid) -> Option<i64> {
        self.find(id).map(|customer| customer.version)
    }

    /// Notes a new comparison with Marketing.
    pub(crate) fn compare(&mut self, id: Uuid, comparison: Comparison) {
        let Some(customer) = self.find(id) else { return };
        match comparison {
            Comparison::Arrived => customer.state = Some(State::Arrived),
            Comparison::Duplicated => customer.state = Some(State::Duplicated),
            Comparison::Forgotten => customer.state = Some(State::Forgotten),
            Comparison::Different { marketing } => customer.marketing = marketing,
        }
    }

    /// Notes the customer as the Web Store has it now.
    pub(crate) fn update(&mut self, current: &Customer) {
        let Some(customer) = self.find(current.id) else { return };
        if customer.version != current.version {
            customer.version = current.version;
            customer.letter = None;
        }
        if customer.marketing == Some(current.version) {
            customer.state = Some(State::Arrived);
        } else if current.in_outbox {
            customer.state = Some(State::InOutbox);
        }
    }

    /// Notes customers with an event of an earlier version in the outbox. If Marketing has no row, they are in the
    /// outbox.
    pub(crate) fn earlier_event(&mut self, id: Uuid) {
        if let Some(customer) = self.find(id).filter(|customer| customer.marketing.is_none()) {
            customer.state = Some(State::InOutbox);
        }
    }

    /// Notes a dead letter. It counts unless the customer arrives in spite of it.
    pub fn dead_letter(&mut self, letter: &DeadLetter<'_>) {
        let Some(version) = self.version(letter.customer) else { return };
        if letter.explains(version) {
            let reason = self.reason(letter.reason);
            if let Some(customer) = self.find(letter.customer) {
                customer.letter = Some(reason);
            }
        }
    }

    /// Returns the index of a reason. After 255 reasons, the last stands for all others.
    fn reason(&mut self, reason: &str) -> u8 {
        let existing = self.reasons.iter().position(|existing| existing == reason);
        let index = existing.unwrap_or_else(|| {
            if self.reasons.len() < usize::from(u8::MAX) {
                self.reasons.push(reason.to_owned());
            }
            self.reasons.len() - 1
        });
        u8::try_from(index).unwrap_or(u8::MAX)
    }

    /// Notes that the Web Store's version is still older than Marketing's.
    pub(crate) fn confirm_ahead(&mut self, current: &Customer) {
        self.update(current);
        if let Some(customer) = self.find(current.id) {
            // Otherwise the customer has changed a moment ago, and its message is on the way.
            customer.state = Some(if customer.is_ahead() { State::Ahead } else { State::OnTheWay });
        }
    }

    /// Returns the final state of each customer. `passed` is whether all messages have passed the queues: a customer
    /// without a state has lost its message then, and otherwise the message may be on its way.
    pub fn finish(self, passed: bool) -> impl Iterator<Item = (Uuid, State, Option<String>)> {
        let Self { customers, reasons } = self;
        customers.into_iter().map(move |customer| {
            let reason = customer.letter.map(|index| reasons[usize::from(index)].clone());
            let state = match (customer.state, &reason) {
                (Some(state), _) => return (customer.id, state, None),
                (None, Some(_)) => State::DeadLettered,
                (None, None) if !passed => State::OnTheWay,
                (None, None) if customer.marketing.is_none() => State::Missing,
                (None, None) => State::Behind,
            };
            (customer.id, state, reason)
        })
    }
}

impl Unlocated {
    fn is_ahead(&self) -> bool {
        self.marketing.is_some_and(|marketing| marketing > self.version)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use readers::web_store::Customer;
    use uuid::Uuid;

    use super::Window;
    use crate::{comparison::Comparison, dead_letters::DeadLetter, report::State};

    fn customer(id: u128, version: i64) -> Customer {
        Customer { id: Uuid::from_u128(id), version, since: Utc::now(), in_outbox: false }
    }

    fn states(window: Window, passed: bool) -> Vec<State> {
        window.finish(passed).map(|(_, state, _)| state).collect()
    }

    #[test]
    fn customer_without_message_is_lost_only_after_passage() {
        for (passed, expected) in [
            (false, [State::OnTheWay, State::OnTheWay, State::DeadLettered]),
            (true, [State::Missing, State::Behind, State::DeadLettered]),
        ] {
            let mut window = Window::default();
            window.push(&customer(1, 1), None);
            window.push(&customer(2, 5), Some(3));
            window.push(&customer(3, 5), Some(3));
            for (id, version) in [(2, 3), (3, 5), (9, 1)] {
                let customer = Uuid::from_u128(id);
                window.dead_letter(&DeadLetter { customer, version: Some(version), reason: "rule-broken" });
            }
            assert_eq!(states(window, passed), expected);
        }
    }

    #[test]
    fn late_arrival_counts_in_spite_of_dead_letter() {
        let mut window = Window::default();
        window.push(&customer(1, 1), None);
        let customer = Uuid::from_u128(1);
        window.dead_letter(&DeadLetter { customer, version: Some(1), reason: "rule-broken" });
        window.compare(customer, Comparison::Arrived);
        assert_eq!(states(window, true), [State::Arrived]);
    }

    #[test]
    fn newer_version_in_marketing_is_ahead_only_if_web_store_keeps_its_own() {
        let mut window = Window::default();
        for id in 1..=3 {
            window.push(&customer(id, 5), Some(7));
        }
        assert_eq!(window.newer_in_marketing(Uuid::nil(), 10).len(), 3);
        window.confirm_ahead(&customer(1, 5));
        window.confirm_ahead(&customer(2, 7));
        window.confirm_ahead(&customer(3, 8));
        assert_eq!(states(window, true), [State::Ahead, State::Arrived, State::OnTheWay]);
    }
}
