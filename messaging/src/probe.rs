//! The last probe of a consumer, for its status reports.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use contracts::{
    operations::{Probe, ProbeArrival, is_probe_of},
    topology::Queue,
};

use crate::Incoming;

/// The last probe that a consumer has settled. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastProbe(Arc<Mutex<Option<ProbeArrival>>>);

impl LastProbe {
    /// Notes the newest probe among the messages of a settled batch.
    pub(crate) fn settled(&self, queue: &Queue, batch: &[Incoming]) {
        let probes = batch.iter().filter(|message| is_probe_of(queue.routing_key, message.message_type()));
        let sent = probes.filter_map(|message| serde_json::from_slice::<Probe>(message.body()).ok());
        let Some(sent_at) = sent.map(|probe| probe.sent_at).max() else { return };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ProbeArrival { sent_at, arrived_at: Utc::now() });
    }

    /// Returns the probe, or `None` before the first one.
    pub(crate) fn get(&self) -> Option<ProbeArrival> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{SubsecRound, TimeDelta, Utc};
    use contracts::{
        CreateCustomer, Message,
        operations::{Probe, probe_type},
        topology::MARKETING_CREATE_CUSTOMER,
    };
    use lapin::{BasicProperties, message::Delivery};

    use super::LastProbe;
    use crate::Incoming;

    fn message(message_type: &str, body: Vec<u8>) -> Incoming {
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, body);
        delivery.properties = BasicProperties::default().with_type(message_type.into());
        Incoming::from(delivery)
    }

    #[test]
    fn newest_probe_of_batch_is_noted() {
        let last = LastProbe::default();
        let now = Utc::now().trunc_subsecs(3);
        let probe = |message_type: &str, seconds| {
            let sent_at = now - TimeDelta::seconds(seconds);
            message(message_type, serde_json::to_vec(&Probe { sent_at }).unwrap())
        };
        let own = probe_type(CreateCustomer::TYPE);
        last.settled(
            &MARKETING_CREATE_CUSTOMER,
            &[probe(CreateCustomer::TYPE, 1), probe("another.probe", 1)],
        );
        assert_eq!(last.get(), None);
        last.settled(&MARKETING_CREATE_CUSTOMER, &[probe(&own, 9), probe(&own, 3), probe(&own, 5)]);
        let noted = last.get().unwrap();
        assert_eq!(noted.sent_at, now - TimeDelta::seconds(3));
        assert!(noted.arrived_at >= noted.sent_at);
    }
}
