//! Secrets from files: `NAME_FILE=PATH` has the meaning of `NAME=file:PATH`.
//!
//! An argument with `hide_env_values` is a secret. Its type is or contains a [`Secret`](access::Secret), which reads the
//! file for each use.

use std::ffi::{OsStr, OsString};

use access::FILE_PREFIX;
use clap::{Arg, Command, builder::Resettable};

/// The end of the name of a variable with a path.
const SUFFIX: &str = "_FILE";

const HELP: &str = "\
Each URL and each hash can also come from a file: set NAME_FILE=PATH instead of the variable NAME, or use
file:PATH as the value. The file is read again for each connection and log-in, so it may change at any time.";

/// Returns the argument with its file as the default value, if it is a secret whose variable `NAME_FILE` is set.
pub(crate) fn with_file(argument: Arg, variable: &impl Fn(&OsStr) -> Option<OsString>) -> Arg {
    let path = file_variable(&argument).and_then(|name| set(&name, variable));
    let Some(path) = path else { return argument };
    let mut value = OsString::from(FILE_PREFIX);
    value.push(path);
    argument.env(Resettable::Reset).required(false).default_value(value)
}

/// Returns the two variables of a secret that are both set, if there are any.
pub(crate) fn doubly_set(
    command: &Command,
    variable: &impl Fn(&OsStr) -> Option<OsString>,
) -> Option<[OsString; 2]> {
    let both = |argument: &Arg| {
        let names = [argument.get_env()?.to_owned(), file_variable(argument)?];
        names.iter().all(|name| set(name, variable).is_some()).then_some(names)
    };
    let nested = || command.get_subcommands().find_map(|subcommand| doubly_set(subcommand, variable));
    command.get_arguments().find_map(both).or_else(nested)
}

/// Returns the command, and its subcommands, with a help text about files if they have secrets.
pub(crate) fn with_help(command: Command) -> Command {
    let has_secrets = command.get_arguments().any(|argument| file_variable(argument).is_some());
    let command = if has_secrets { command.after_help(HELP) } else { command };
    command.mut_subcommands(with_help)
}

/// Returns the name of the variable with the path, or `None` if the argument is no secret.
fn file_variable(argument: &Arg) -> Option<OsString> {
    let mut name = argument.get_env().filter(|_| argument.is_hide_env_values_set())?.to_owned();
    name.push(SUFFIX);
    Some(name)
}

fn set(name: &OsStr, variable: &impl Fn(&OsStr) -> Option<OsString>) -> Option<OsString> {
    variable(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};

    use access::Secret;
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::{doubly_set, with_file};

    #[derive(Debug, Parser)]
    struct Config {
        #[arg(long, env = "TEST_URL", hide_env_values = true)]
        url: Secret<String>,
        #[arg(long, env = "TEST_NAME")]
        name: Option<String>,
    }

    fn environment<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&OsStr) -> Option<OsString> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
    }

    fn parse(pairs: &[(&str, &str)], arguments: &[&str]) -> Config {
        let command = Config::command().mut_args(|argument| with_file(argument, &environment(pairs)));
        let matches = command.try_get_matches_from([&["program"], arguments].concat()).unwrap();
        Config::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn file_is_the_value_of_a_secret_unless_the_flag_is_set() {
        let file = [("TEST_URL_FILE", "/run/secrets/url"), ("TEST_NAME_FILE", "/name")];
        let config = parse(&file, &[]);
        assert_eq!(format!("{:?}", config.url), "file:/run/secrets/url");
        assert_eq!(config.name, None, "only a secret comes from a file");
        assert_eq!(parse(&file, &["--url", "value"]).url.read().unwrap(), "value");
    }

    #[test]
    fn value_and_file_together_are_an_error() {
        let both = |pairs: &[_]| doubly_set(&Config::command(), &environment(pairs));
        let names = both(&[("TEST_URL", "value"), ("TEST_URL_FILE", "/url")]);
        assert_eq!(names, Some(["TEST_URL", "TEST_URL_FILE"].map(OsString::from)));
        assert_eq!(both(&[("TEST_URL", ""), ("TEST_URL_FILE", "/url")]), None);
        assert_eq!(both(&[("TEST_URL", "value"), ("TEST_URL_FILE", "")]), None);
    }
}
