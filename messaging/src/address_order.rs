//! The order in which the connections of a process try the addresses of a broker.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// The position of the address that the next connection tries first. Clones share it.
///
/// It grows, and is taken modulo the number of addresses, which a changed file can change. It begins at random, so that
/// the processes of a system spread over the nodes of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct AddressOrder(Arc<AtomicUsize>);

impl Default for AddressOrder {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::from(rand::random::<u16>()))))
    }
}

impl AddressOrder {
    /// Returns the positions of `count` addresses, beginning with the address that works.
    pub(crate) fn positions(&self, count: usize) -> Range<usize> {
        let first = self.0.load(Ordering::Relaxed);
        first..first + count
    }

    /// Returns the use of the address at a position.
    pub(crate) fn begin_use(&self, position: usize) -> AddressUse {
        AddressUse { order: self.clone(), position, succeeded: AtomicBool::new(false) }
    }
}

/// The use of an address by one session, from the attempt to connect until the end of the session.
///
/// If it ends without success, the next connection begins with the next address. A canceled attempt therefore counts as
/// a failure, and so does a session with a node that accepts connections and does nothing else. Several sessions that
/// lose the same address move on once.
#[derive(Debug)]
pub(crate) struct AddressUse {
    order: AddressOrder,
    position: usize,
    succeeded: AtomicBool,
}

impl AddressUse {
    /// Notes that the address works.
    pub(crate) fn succeed(&self) {
        self.succeeded.store(true, Ordering::Relaxed);
    }
}

impl Drop for AddressUse {
    fn drop(&mut self) {
        if !*self.succeeded.get_mut() {
            let AddressOrder(first) = &self.order;
            let next = self.position + 1;
            let _ = first.compare_exchange(self.position, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AddressOrder;

    #[test]
    fn address_stays_first_until_it_fails() {
        let order = AddressOrder::default();
        let first = order.positions(3).start;
        let works = order.begin_use(first);
        works.succeed();
        drop(works);
        assert_eq!(order.positions(3).start, first);
        drop(order.begin_use(first));
        assert_eq!(order.positions(3).start, first + 1);
    }

    #[test]
    fn sessions_that_lose_an_address_move_on_once() {
        let order = AddressOrder::default();
        let first = order.positions(3).start;
        let sessions: Vec<_> = (0..5).map(|_| order.begin_use(first)).collect();
        drop(sessions);
        assert_eq!(order.positions(3).start, first + 1);
    }
}
