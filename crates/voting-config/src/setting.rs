//! Reading settings: every invalid value stops a program with the same one-line error.

use std::any::TypeId;
use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::PathBuf;

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
        Self(format!("{variable}: {} {reason}", shown(None, value)))
    }

    /// [`InvalidSetting::of`] a variable that holds a secret.
    pub fn of_secret(variable: &str, reason: impl fmt::Display) -> Self {
        Self(format!("{variable}: {NOT_SHOWN} {reason}"))
    }

    /// A limit of the system is too low.
    pub(crate) fn of_limit(text: String) -> Self {
        Self(text)
    }
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
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let parsed = command.clone().try_get_matches_from(&arguments);
    match parsed.and_then(|mut matches| P::from_arg_matches_mut(&mut matches)) {
        Ok(settings) => Ok(settings),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // Without colors, unless a terminal shows them.
            let text = error.render();
            let text =
                if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
            print(&text).map_err(|error| InvalidSetting(error.to_string()))?;
            std::process::exit(error.exit_code())
        }
        Err(error) => Err(one_line(&P::command(), &arguments, &error)),
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

fn one_line(command: &clap::Command, arguments: &[OsString], error: &clap::Error) -> InvalidSetting {
    let (flag, value) = (texts(error, ContextKind::InvalidArg), text(error, ContextKind::InvalidValue));
    let argument = flag.first().and_then(|flag| named(command, flag));
    let name = flag.iter().map(|flag| variable(command, flag)).collect::<Vec<_>>().join(", ");
    let help = argument.map_or_else(|| "see --help".to_owned(), help);
    let commands = || command.get_subcommands().map(clap::Command::get_name).collect::<Vec<_>>().join(", ");
    InvalidSetting(match (error.kind(), value) {
        (ErrorKind::InvalidUtf8, _) => return not_unicode(command, arguments),
        (ErrorKind::MissingRequiredArgument, _) => format!("{name}: is missing; allowed: {help}"),
        (ErrorKind::TooManyValues, Some(value)) => {
            format!("{name}: {} is too much; allowed: no value", shown(argument, value))
        }
        (ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues, _) => {
            let number = error.get(ContextKind::ExpectedNumValues).or(error.get(ContextKind::MinValues));
            let number = number.map_or_else(|| "more".to_owned(), ToString::to_string);
            format!("{name}: has too few values or too many; allowed: {number}")
        }
        (ErrorKind::ArgumentConflict, _) => {
            let others = texts(error, ContextKind::PriorArg);
            if others == flag {
                format!("{name}: occurs more than once; allowed: once")
            } else {
                let others: Vec<_> = others.iter().map(|other| variable(command, other)).collect();
                format!("{name}: conflicts with {}; allowed: one of them", others.join(", "))
            }
        }
        (ErrorKind::InvalidSubcommand, _) => {
            let unknown = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("{} is not a command; allowed: {}", shown(None, unknown), commands())
        }
        (ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            format!("a command is missing; allowed: {}", commands())
        }
        (ErrorKind::UnknownArgument, _) => {
            let unknown = flag.join(" ");
            let is_of_program =
                |arg: &clap::Arg| arg.get_long().is_some_and(|long| unknown == format!("--{long}"));
            let allowed = if command.get_arguments().any(is_of_program) {
                "before the command"
            } else {
                "the arguments that --help lists"
            };
            format!("unexpected argument {}; allowed: {allowed}", shown(None, &unknown))
        }
        (_, Some("")) if std::error::Error::source(error).is_none() => {
            format!("{name}: has no value; allowed: {help}")
        }
        (_, Some(value)) if !name.is_empty() => {
            let shown = shown(argument, value);
            match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
                (Some(reason), _) => format!("{name}: {shown} {reason}"),
                (None, Some(allowed)) => format!("{name}: {shown} is not allowed; allowed: {allowed}"),
                (None, None) => format!("{name}: {shown} is not allowed; allowed: {help}"),
            }
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            format!("{}; allowed: see --help", shortened(first))
        }
    })
}

/// The error of a value that is not UTF-8, which clap reports without the name of its argument.
fn not_unicode(command: &clap::Command, arguments: &[OsString]) -> InvalidSetting {
    let on_command_line = arguments.iter().enumerate().find_map(|(place, value)| {
        if value.to_str().is_some() {
            return None;
        }
        let (flag, value) = match value.to_string_lossy().split_once('=') {
            Some((flag, value)) => (flag.to_owned(), value.to_owned()),
            None => {
                let before = place.checked_sub(1).and_then(|before| arguments.get(before));
                let flag = before.map(|flag| flag.to_string_lossy().into_owned());
                (flag.unwrap_or_default(), value.to_string_lossy().into_owned())
            }
        };
        let argument = named(command, &flag);
        Some((
            argument.map_or_else(|| "an argument".to_owned(), |_| variable(command, &flag)),
            argument,
            value,
        ))
    });
    let of_environment = || {
        all_arguments(command).into_iter().find_map(|argument| {
            let variable = argument.get_env()?;
            let value = std::env::var_os(variable).filter(|value| value.to_str().is_none())?;
            // A path may have any bytes.
            let is_path = argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
            let (variable, value) = (variable.to_string_lossy(), value.to_string_lossy());
            (!is_path).then(|| (variable.into_owned(), Some(argument), value.into_owned()))
        })
    };
    match on_command_line.or_else(of_environment) {
        Some((name, argument, value)) => InvalidSetting(format!(
            "{name}: {} is not UTF-8; allowed: text in UTF-8",
            shown(argument, &value)
        )),
        None => InvalidSetting("an argument is not UTF-8; allowed: text in UTF-8".to_owned()),
    }
}

/// In place of a secret.
const NOT_SHOWN: &str = "(not shown)";

/// A value as errors show it: not at all if it may be a secret, such as a URL with a password.
fn shown(argument: Option<&clap::Arg>, value: &str) -> String {
    if argument.is_some_and(clap::Arg::is_hide_env_values_set) || value.contains('@') {
        NOT_SHOWN.to_owned()
    } else {
        format!("{:?}", shortened(value))
    }
}

/// The beginning of a text that is too long for a line.
pub fn shortened(text: &str) -> Cow<'_, str> {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The texts of a part of an error.
fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// The name of a setting: its variable, if it has one. `flag` is its flag as clap shows it, such as `--port <PORT>`.
fn variable(command: &clap::Command, flag: &str) -> String {
    let variable = named(command, flag).and_then(clap::Arg::get_env);
    let name = || flag.split([' ', '=']).next().unwrap_or_default().to_owned();
    variable.map_or_else(name, |variable| variable.to_string_lossy().into_owned())
}

fn named<'a>(command: &'a clap::Command, flag: &str) -> Option<&'a clap::Arg> {
    let flag = flag.split([' ', '=']).next().unwrap_or_default();
    all_arguments(command).into_iter().find(|argument| match argument.get_long() {
        Some(long) => flag.strip_prefix("--") == Some(long),
        None => argument.to_string() == flag,
    })
}

/// The first sentence of an argument's help, which says what is allowed.
fn help(argument: &clap::Arg) -> String {
    argument.get_help().map_or_else(|| "see --help".to_owned(), |help| help.to_string().replace('\n', " "))
}

fn all_arguments(command: &clap::Command) -> Vec<&clap::Arg> {
    let own = command.get_arguments();
    own.chain(command.get_subcommands().flat_map(all_arguments)).collect()
}
