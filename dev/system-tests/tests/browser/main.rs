//! What people see, in a real browser on the real system.

mod accessibility;
mod browser;
mod registration;
mod states;
