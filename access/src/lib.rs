#![doc = include_str!("../README.md")]

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod hosts;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod secret;
mod tls;

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use hosts::NoUsableHost;
#[cfg(feature = "mysql")]
pub use mysql::{MysqlUrl, is_read_only};
#[cfg(feature = "postgres")]
pub use postgres::PostgresUrl;
pub use secret::{FILE_PREFIX, Secret, SecretError};
pub use tls::{TlsFailure, tls_failure};
