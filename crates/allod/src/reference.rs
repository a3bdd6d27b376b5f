//! docs/reference/cli.md, made from the commands themselves.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use crate::cmd::Cli;

const HEAD: &str = "<!-- Made by `allod reference`; do not edit. -->
# Commands

Data go to standard output and everything else to standard error. `-o json` prints exactly what the API gives.
`ALLOD_HOME` names the directory of the installation; commands find the API through it. A service is named
`APP/SERVICE`, or by a bare name that only one thing bears. Nothing is ever asked where standard input is no terminal.

| exit code | means |
|---|---|
| 0 | done |
| 1 | it failed |
| 2 | called wrongly, or a wrong deploy file |
| 3 | what was named does not exist |
| 4 | no identity, or one that is not accepted |
| 5 | a grant or policy does not allow it |
| 6 | the credits do not suffice |
| 7 | no node can run it |
| 8 | it took too long |
| 9 | the network cannot be reached |

`allod exec` ends with the code of the command that it ran.
";

/// The whole page.
pub(crate) fn markdown() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut out = HEAD.to_owned();
    let globals: Vec<&Arg> = shown(&cli).filter(|arg| arg.is_global_set()).collect();
    out.push_str("\n## Options of every command\n\n");
    arguments(&globals, &mut out);
    for command in cli
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help")
    {
        section(command, "allod", &mut out);
    }
    out
}

fn section(command: &Command, parent: &str, out: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut own: Vec<&Arg> = shown(command).filter(|arg| !arg.is_global_set()).collect();
    own.sort_by_key(|arg| (!arg.is_positional(), arg.get_index()));
    let nested: Vec<&Command> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help")
        .collect();
    let mut usage = name.clone();
    if own.iter().any(|arg| !arg.is_positional()) {
        usage.push_str(" [OPTIONS]");
    }
    for arg in own.iter().filter(|arg| arg.is_positional()) {
        let _ = write!(usage, " {}", positional(arg));
    }
    let _ = write!(out, "\n## {name}\n\n{about}.\n\n");
    if nested.is_empty()
        || command
            .get_arguments()
            .any(|arg| !arg.is_global_set() && arg.get_id() != "help")
    {
        let _ = write!(out, "    {usage}\n\n");
    }
    arguments(&own, out);
    for command in nested {
        section(command, &name, out);
    }
}

fn arguments(arguments: &[&Arg], out: &mut String) {
    if arguments.is_empty() {
        return;
    }
    out.push_str("| option | means |\n|---|---|\n");
    for arg in arguments {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let mut names = Vec::new();
        names.extend(arg.get_short().map(|short| format!("-{short}")));
        names.extend(arg.get_long().map(|long| format!("--{long}")));
        let mut name = names.join(", ");
        if arg.is_positional() {
            name = positional(arg);
        } else if arg.get_action().takes_values() {
            name = format!("{name} {}", placeholder(arg));
        }
        let defaults: Vec<String> = arg
            .get_default_values()
            .iter()
            .map(|v| v.to_string_lossy().into_owned())
            .collect();
        let default = match (defaults.is_empty(), arg.get_action().takes_values()) {
            (false, true) => format!("; default `{}`", defaults.join(" ")),
            _ => String::new(),
        };
        let choices: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|v| format!("`{}`", v.get_name()))
            .collect();
        let choices = match (choices.is_empty(), arg.get_action().takes_values()) {
            (false, true) => format!(": {}", choices.join(", ")),
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "| `{name}` | {}{choices}{default} |",
            help.replace('|', "\\|")
        );
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_shown =
        |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    command.get_arguments().filter(is_shown)
}

fn placeholder(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

fn positional(arg: &Arg) -> String {
    let name = placeholder(arg);
    let is_many = arg
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    let name = if is_many { format!("{name}…") } else { name };
    if arg.is_required_set() {
        name
    } else {
        format!("[{name}]")
    }
}
