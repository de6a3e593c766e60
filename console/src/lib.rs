//! The operators' program. It sees both applications and takes part in neither.

pub mod reconcile;
