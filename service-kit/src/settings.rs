//! Reading the settings, so that a wrong one is told without repeating a password.

use std::error::Error;

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Parses the command line and the environment; what is wrong ends the process with one clear line.
///
/// clap quotes a value that it cannot parse, and a mistyped URL still holds its password, so for these
/// the line is made here.
#[must_use]
pub fn parse_config<C: Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::ValueValidation, Some(ContextValue::String(argument))) => {
            let reason = error.source().map_or_else(|| "invalid value".to_owned(), ToString::to_string);
            eprintln!("error: {argument}: {reason}");
            std::process::exit(2)
        }
        _ => error.exit(),
    })
}
