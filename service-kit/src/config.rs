//! Parsing of the command line and the environment.

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    num::ParseIntError,
    time::Duration,
};

use clap::{
    Arg, Command, CommandFactory, Parser,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::secret_files::{doubly_set, with_file, with_help};

/// Earlier names of environment variables. An earlier name counts if the current one is unset.
const EARLIER_NAMES: &[(&str, &str)] = &[("RUST_LOG", "LOG")];

/// Returns the settings from the command line and the environment. An empty variable counts as unset.
///
/// A setting with `hide_env_values` is a secret. Its variable `NAME`, or a file that the variable `NAME_FILE` names, has
/// the value. Both variables together end the process.
///
/// An invalid setting ends the process with one line on standard error. For an invalid value, this function
/// writes that line itself: clap's own line quotes the value, and a mistyped URL can contain a password.
#[must_use]
pub fn parse_config<C: Parser>() -> C {
    let variable = |name: &OsStr| std::env::var_os(name);
    if let Some([value, file]) = doubly_set(&C::command(), &variable) {
        eprintln!("error: {} and {} are both set; unset one of them", value.display(), file.display());
        std::process::exit(2);
    }
    let command = with_environment(C::command(), &variable);
    let parsed = command.clone().try_get_matches().and_then(|mut matches| {
        C::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command.clone()))
    });
    parsed.unwrap_or_else(|error| match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::ValueValidation, Some(ContextValue::String(argument))) => {
            let reason = error.source().map_or_else(|| "invalid value".to_owned(), ToString::to_string);
            eprintln!("error: {argument}: {reason}");
            std::process::exit(2)
        }
        // From the unchanged command, so that the help also lists variables that are empty.
        (ErrorKind::DisplayHelp, _) => {
            let matches = with_help(C::command()).get_matches();
            C::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
        }
        _ => error.exit(),
    })
}

/// Returns a setting that the subcommand requires. If it is missing, ends the process as clap does for a
/// required argument: with a message that names `argument`, and exit status 2.
///
/// Settings are optional for clap, because each subcommand needs only some of them.
#[must_use]
pub fn required<C: CommandFactory, T>(value: Option<T>, argument: &str) -> T {
    value.unwrap_or_else(|| {
        let message = format!("the following required arguments were not provided:\n  {argument}");
        C::command().error(ErrorKind::MissingRequiredArgument, message).exit()
    })
}

/// Returns the command with the name of the variable that each argument reads.
///
/// clap reads a variable when an argument gets its name, and takes an empty value for a value.
fn with_environment(command: Command, variable: &impl Fn(&OsStr) -> Option<OsString>) -> Command {
    let is_set = |name: &OsStr| variable(name).is_some_and(|value| !value.is_empty());
    let choose = |argument: Arg| {
        let Some(name) = argument.get_env().filter(|name| !is_set(name)).map(OsStr::to_owned) else {
            return argument;
        };
        let argument = with_file(argument, variable);
        let earlier = EARLIER_NAMES.iter().find(|(current, _)| *current == name);
        match earlier.filter(|(_, earlier)| is_set(earlier.as_ref())) {
            Some((_, earlier)) => argument.env(earlier),
            None if variable(&name).is_some() => argument.env(Resettable::Reset),
            None => argument,
        }
    };
    command.mut_args(choose).mut_subcommands(|subcommand| with_environment(subcommand, variable))
}

/// Parses a setting in whole seconds.
///
/// # Errors
/// Returns an error if the text is no number.
pub fn parse_seconds(text: &str) -> Result<Duration, ParseIntError> {
    text.parse().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::{CommandFactory, Parser, Subcommand};

    use super::with_environment;

    #[derive(Parser)]
    struct Config {
        /// Cargo sets this variable for tests. It is empty unless the version is a pre-release.
        #[arg(long, env = "CARGO_PKG_VERSION_PRE", default_value = "default")]
        empty: String,
        #[arg(long, env = "RUST_LOG")]
        log: Option<String>,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Subcommand)]
    enum Command {
        Run {
            #[arg(long, env = "LIMIT")]
            limit: Option<String>,
        },
    }

    /// Returns the variable that an argument reads in an environment.
    fn variable(environment: &[(&str, &str)], path: &[&str], id: &str) -> Option<String> {
        let lookup =
            |name: &OsStr| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        let mut command = with_environment(Config::command(), &lookup);
        for name in path {
            command = command.find_subcommand(name).unwrap().clone();
        }
        let argument = command.get_arguments().find(|argument| argument.get_id() == id).unwrap();
        argument.get_env().map(|name| name.to_str().unwrap().to_owned())
    }

    #[test]
    fn empty_variable_counts_as_unset() {
        assert_eq!(variable(&[("RUST_LOG", "")], &[], "log"), None);
        assert_eq!(variable(&[("RUST_LOG", "debug")], &[], "log").as_deref(), Some("RUST_LOG"));
        assert_eq!(variable(&[], &[], "log").as_deref(), Some("RUST_LOG"));
        assert_eq!(variable(&[("LIMIT", "")], &["run"], "limit"), None);
        assert_eq!(variable(&[("LIMIT", "1")], &["run"], "limit").as_deref(), Some("LIMIT"));
    }

    #[test]
    fn default_replaces_empty_variable() {
        let command = with_environment(Config::command(), &|name| std::env::var_os(name));
        let matches = command.try_get_matches_from(["program"]).unwrap();
        assert_eq!(matches.get_one::<String>("empty").unwrap(), "default");
    }

    #[test]
    fn log_is_read_if_rust_log_is_unset() {
        let name = |environment: &[_]| variable(environment, &[], "log");
        assert_eq!(name(&[("LOG", "debug")]).as_deref(), Some("LOG"));
        assert_eq!(name(&[("LOG", "debug"), ("RUST_LOG", "")]).as_deref(), Some("LOG"));
        assert_eq!(name(&[("LOG", "debug"), ("RUST_LOG", "info")]).as_deref(), Some("RUST_LOG"));
        assert_eq!(name(&[("LOG", ""), ("RUST_LOG", "")]), None);
    }
}
