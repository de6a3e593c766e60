//! The long tests: a fault at every frame, and bugs that the harness has to detect. They share the time that they wait.

mod harness_detects_bugs;
mod sweep;
