//! The common properties of all kinds of fault.

use std::time::Duration;

use system_tests::eventually;

/// A simultaneous fault may have stopped the server that has to be restored.
const RESTORE_TIMEOUT: Duration = Duration::from_mins(2);

/// The properties of a kind of fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    /// The name in the table of recovery times, which `--only` also searches.
    pub(crate) name: String,
    /// The variant of the kind, such as a link. A schedule chooses it at random.
    pub(crate) variant: String,
    /// The longest duration, or `None` if the fault is a single event.
    pub(crate) longest: Option<Duration>,
    pub(crate) company: Company,
}

/// The other faults that may coincide with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// All that allow it.
    Any,
    /// All except those of [`Company::NoTakers`]: the fault confirms copies in another queue than ours.
    Taker,
    /// All except those of [`Company::Taker`]: our queue gets no messages for some time. The broker returns them,
    /// unless another queue takes them. Then they are lost until a replay.
    NoTakers,
    /// None, because the fault pauses the load or reads the queues.
    Alone,
}

impl Description {
    /// Describes a single event.
    pub(super) fn event(name: impl Into<String>) -> Self {
        Self { name: name.into(), variant: String::new(), longest: None, company: Company::Any }
    }

    /// Describes a fault that lasts for up to `seconds`.
    pub(super) fn lasting(name: impl Into<String>, seconds: u64) -> Self {
        Self { longest: Some(Duration::from_secs(seconds)), ..Self::event(name) }
    }

    pub(super) fn variant(self, variant: impl Into<String>) -> Self {
        Self { variant: variant.into(), ..self }
    }

    pub(super) fn company(self, company: Company) -> Self {
        Self { company, ..self }
    }
}

impl Company {
    /// Returns whether two faults may coincide. Messages that they lose together are lost only without a console.
    pub(crate) fn allows(self, other: Self, with_console: bool) -> bool {
        match (self, other) {
            (Self::Alone, _) | (_, Self::Alone) => false,
            (Self::Taker, Self::NoTakers) | (Self::NoTakers, Self::Taker) => with_console,
            _ => true,
        }
    }
}

/// Retries a step that restores the normal state until it succeeds.
///
/// # Errors
/// Returns an error that names the state if it is not restored within two minutes.
pub(super) async fn restore<T>(state: &str, step: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    eventually(RESTORE_TIMEOUT, state, async || step().await.ok()).await
}
