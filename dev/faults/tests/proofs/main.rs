//! The long tests: a fault at every frame, and bugs that the harness has to detect. They share the time that they wait.
//!
//! Tests start in the order of their names. The sweep is the first one, so it waits while the mutated services are built.

mod any_frame;
mod harness_detects_bugs;
