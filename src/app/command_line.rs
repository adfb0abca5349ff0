//! How the command line is read: what `cli` declares, and what holds for all its flags at once.
//!
//! A value that begins with a minus sign reaches our own check, which names the flag, the value and
//! what is accepted. A usage line asks for what is missing only: clap would also ask for whatever
//! the environment has set. And the help of the program ends with the flags of its commands, taken
//! from their declarations, so that it cannot go stale.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::cli::Cli;

/// Times: `-1s` is no number, and still a value. Everything behind such a flag is its value.
const TIMES: [&str; 6] =
    ["startup_timeout", "lock_timeout", "request_timeout", "shutdown_grace", "ttl", "time_limit"];
/// As wide as the rest of the help.
const WIDTH_MAX: usize = 100;

/// Reads the arguments and the environment; on a mistake the process ends, with code 2.
pub fn read() -> Cli {
    let found = command().get_matches();
    Cli::from_arg_matches(&found).unwrap_or_else(|error| error.exit())
}

/// The program and its commands.
pub fn command() -> Command {
    let program = values_with_a_minus(Cli::command());
    let mut built = program.clone();
    built.build();
    let flags = flags_of_commands(&program);
    with_usage(program, &built).after_help(flags)
}

fn values_with_a_minus(command: Command) -> Command {
    let lets_pass = |arg: Arg| {
        let takes_value = matches!(arg.get_action(), ArgAction::Set) && !arg.is_positional();
        let is_time = TIMES.contains(&arg.get_id().as_str());
        arg.allow_negative_numbers(takes_value && !is_time).allow_hyphen_values(is_time)
    };
    command.mut_args(lets_pass).mut_subcommands(values_with_a_minus)
}

/// Takes the usage lines from the same command after clap has built it, since only then it knows
/// the names above it.
fn with_usage(command: Command, built: &Command) -> Command {
    let rendered = built.clone().render_usage().to_string();
    let line = rendered.strip_prefix("Usage: ").unwrap_or(&rendered).to_owned();
    let command = command.override_usage(line);
    command.mut_subcommands(|below| match built.find_subcommand(below.get_name()) {
        Some(built) => with_usage(below, built),
        None => below,
    })
}

/// What only some commands take, command by command.
fn flags_of_commands(program: &Command) -> String {
    let mut text = "Flags of the commands (`flashdeal COMMAND --help` says more):".to_owned();
    for command in program.get_subcommands() {
        list(&mut text, command, "");
    }
    text
}

fn list(text: &mut String, command: &Command, above: &str) {
    let name = format!("{above}{}", command.get_name());
    let own: Vec<Arg> = command.get_arguments().cloned().collect();
    if !own.is_empty() {
        let only_these = Command::new("flags")
            .disable_help_flag(true)
            .max_term_width(WIDTH_MAX)
            .help_template("{positionals}\n{options}")
            .args(own);
        let rendered = only_these.clone().render_help().to_string();
        // Writing into a text cannot fail.
        let _ = write!(text, "\n\n{name}:\n{}", rendered.trim_matches('\n'));
    }
    for below in command.get_subcommands() {
        list(text, below, &format!("{name} "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_the_program_has_the_flags_of_every_command() {
        fn flags(command: &Command, found: &mut Vec<String>) {
            found.extend(command.get_arguments().filter_map(Arg::get_long).map(str::to_owned));
            command.get_subcommands().for_each(|below| flags(below, found));
        }
        let (help, mut found) = (command().render_help().to_string(), Vec::new());
        flags(&Cli::command(), &mut found);
        assert!(found.len() > 40, "{found:?}");
        for flag in found {
            assert!(help.contains(&format!("--{flag}")), "{flag} is missing in\n{help}");
        }
    }

    #[test]
    fn every_time_is_a_flag_and_every_flag_takes_a_value_with_a_minus() {
        fn refused(command: &Command, path: &[&str], found: &mut Vec<String>) -> usize {
            let mut times = 0;
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                let Some(flag) = arg.get_long().filter(|_| arg.get_action().takes_values()) else {
                    continue;
                };
                let is_time = TIMES.contains(&arg.get_id().as_str());
                times += usize::from(is_time);
                let (flag, value) = (format!("--{flag}"), if is_time { "-1s" } else { "-1" });
                let line = [&["flashdeal"], path, &[&flag, value]].concat();
                let error = super::command().try_get_matches_from(&line).err();
                let unknown = clap::error::ErrorKind::UnknownArgument;
                found.extend(error.filter(|error| error.kind() == unknown).map(|_| flag));
            }
            for below in command.get_subcommands() {
                times += refused(below, &[path, &[below.get_name()]].concat(), found);
            }
            times
        }
        let mut found = Vec::new();
        assert_eq!(refused(&Cli::command(), &[], &mut found), TIMES.len());
        assert!(found.is_empty(), "{found:?}");
    }
}
