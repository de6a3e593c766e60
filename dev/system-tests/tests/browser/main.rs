//! The pages in a real browser, on a real system.

mod accessibility;
mod browser;
mod console;
mod registration;
mod states;
