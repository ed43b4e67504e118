//! Reading settings: every invalid value stops a program with the same one-line error.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv6Addr};

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::output::print;

/// An invalid setting, in one line: the variable, its value (unless it may be a secret), and the allowed values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(String);

impl InvalidSetting {
    /// The value of a variable is invalid for this reason, which ends with the allowed values.
    pub fn of(variable: &str, value: &str, reason: impl fmt::Display) -> Self {
        Self(format!("{variable}: {value:?} {reason}"))
    }
}

/// Parses a port to connect to or to listen on.
pub fn port() -> impl clap::builder::TypedValueParser<Value = u16> {
    use clap::builder::TypedValueParser as _;
    clap::builder::StringValueParser::new()
        .try_map(|text| text.parse::<u16>().map_err(|_| "is not a port; allowed: a number from 0 to 65535"))
}

/// Parses an IP address; one of IPv6 may stand in brackets.
pub fn address() -> impl clap::builder::TypedValueParser<Value = IpAddr> {
    use clap::builder::TypedValueParser as _;
    clap::builder::StringValueParser::new().try_map(|text| {
        unbracketed(&text).parse::<IpAddr>().map_err(|_| {
            "is not an IP address; allowed: one of IPv4 or IPv6, such as 127.0.0.1 or ::1; 0.0.0.0 or :: for all"
        })
    })
}

/// A host as a URL has it: an IPv6 address stands in brackets.
pub fn url_host(host: &str) -> Cow<'_, str> {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]").into() } else { host.into() }
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .filter(|text| text.contains(':'))
        .unwrap_or(text)
}

/// Parses a boolean; an empty value is false, as in azure-vote.
pub fn switch() -> impl clap::builder::TypedValueParser<Value = bool> {
    use clap::builder::TypedValueParser as _;
    clap::builder::StringValueParser::new().try_map(|text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err("is not a boolean; allowed: true, false"),
    })
}

/// Reads the settings of a program from its arguments and environment; an empty variable counts as unset. `--help` and
/// `--version` print and exit.
///
/// # Errors
/// [`InvalidSetting`], to be printed as it is.
pub fn parse<P: Parser>() -> Result<P, InvalidSetting> {
    parse_from(std::env::args_os())
}

/// [`parse`] with these arguments.
///
/// # Errors
/// [`InvalidSetting`].
pub fn parse_from<P: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, InvalidSetting> {
    let mut command = P::command();
    unset_empty_variables(&mut command);
    let parsed = command.clone().try_get_matches_from(arguments);
    match parsed.and_then(|mut matches| P::from_arg_matches_mut(&mut matches)) {
        Ok(settings) => Ok(settings),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            ) =>
        {
            // Without colors, unless a terminal shows them.
            let text = error.render();
            let text =
                if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
            print(&text).map_err(|error| InvalidSetting(error.to_string()))?;
            std::process::exit(error.exit_code())
        }
        Err(error) => Err(one_line(&P::command(), &error)),
    }
}

/// Deployment tools set optional variables to nothing when they are not configured.
fn unset_empty_variables(command: &mut clap::Command) {
    let is_empty =
        |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    *command = std::mem::take(command)
        .mut_args(|arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg })
        .mut_subcommands(|mut subcommand| {
            unset_empty_variables(&mut subcommand);
            subcommand
        });
}

fn one_line(command: &clap::Command, error: &clap::Error) -> InvalidSetting {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(flag), Some(value)) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue))
    else {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        return InvalidSetting(format!("{}; see --help", first.trim_start_matches("error: ")));
    };
    let name = flag.trim_start_matches('-').split(' ').next().unwrap_or_default();
    let argument = all_arguments(command).into_iter().find(|argument| argument.get_long() == Some(name));
    let shown = if argument.is_some_and(clap::Arg::is_hide_env_values_set) {
        "(not shown)".to_owned()
    } else {
        format!("{value:?}")
    };
    let variable = argument
        .and_then(|argument| argument.get_env())
        .map_or_else(|| flag.to_owned(), |variable| variable.to_string_lossy().into_owned());
    let reason = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(allowed)) => format!("is not allowed; allowed: {allowed}"),
        (None, None) => "is not allowed".to_owned(),
    };
    InvalidSetting(format!("{variable}: {shown} {reason}"))
}

fn all_arguments(command: &clap::Command) -> Vec<&clap::Arg> {
    let own = command.get_arguments();
    own.chain(command.get_subcommands().flat_map(all_arguments)).collect()
}
