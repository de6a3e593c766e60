#![doc = include_str!("../README.md")]

mod secret;
mod tls;

pub use secret::{FILE_PREFIX, Secret, SecretError};
pub use tls::{TlsFailure, tls_failure};
