//! Where our flags end and curl's arguments begin.
//!
//! `breakglass curl --reason X -X POST URL` must not read curl's `--output` as ours. So the words after the verb are ours
//! only up to the first that is none of the flags of this verb; from there on all is curl's, and a `--` is put between.

use std::ffi::{OsStr, OsString};

use clap::{ArgAction, CommandFactory as _};

use crate::cli::args::CommandLine;

/// A flag, such as `--reason`.
struct Flag {
    name: String,
    /// Its value may be the next word.
    takes_value: bool,
    global: bool,
}

/// Every flag that the verb takes. What is short is curl's.
fn flags() -> Vec<Flag> {
    let command = CommandLine::command();
    let global = command.get_arguments().filter(|argument| argument.is_global_set()).map(|argument| (argument, true));
    let verb = command.find_subcommand("curl").into_iter().flat_map(clap::Command::get_arguments);
    let all = global.chain(verb.map(|argument| (argument, false)));
    let named = all.filter_map(|(argument, global)| {
        let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
        Some(Flag { name: format!("--{}", argument.get_long()?), takes_value, global })
    });
    named.chain([Flag { name: "--help".to_owned(), takes_value: false, global: true }]).collect()
}

/// The command line with a `--` before curl's arguments, where the verb is `curl`; unchanged where it is not.
pub(crate) fn with_divider(arguments: Vec<OsString>) -> Vec<OsString> {
    let flags = flags();
    let Some(verb) = verb(&arguments, &flags).filter(|at| arguments.get(*at).is_some_and(|word| word == "curl")) else {
        return arguments;
    };
    let end = ours_end(&arguments, &flags, verb + 1);
    let mut divided = arguments;
    let is_divided = divided.get(end).is_none_or(|word| word == "--");
    if !is_divided {
        divided.insert(end, "--".into());
    }
    divided
}

/// Index of the verb: the first word that is neither a flag nor the value of one.
fn verb(arguments: &[OsString], flags: &[Flag]) -> Option<usize> {
    let mut at = 1;
    loop {
        let word = arguments.get(at)?;
        if !starts_with_dash(word) {
            return Some(at);
        }
        let takes_next = flags.iter().any(|flag| flag.global && flag.takes_value && *word == *flag.name);
        at += if takes_next { 2 } else { 1 };
    }
}

/// Index of the first word that is curl's. `--output` is, once the verb has been said.
fn ours_end(arguments: &[OsString], flags: &[Flag], mut at: usize) -> usize {
    while let Some(word) = arguments.get(at) {
        let name = flag_name(word);
        let Some(flag) = flags.iter().find(|flag| flag.name == name && name != "--output") else { break };
        at += if flag.takes_value && *word == *flag.name { 2 } else { 1 };
    }
    at.min(arguments.len())
}

fn flag_name(word: &OsStr) -> &str {
    word.to_str().and_then(|word| word.split('=').next()).unwrap_or_default()
}

fn starts_with_dash(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| word.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::super::args::{CommandLine, Verb};
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_divider_stands_before_the_first_word_that_is_curls() {
        for (typed, divided) in [
            ("breakglass curl https://a/", "breakglass curl -- https://a/"),
            ("breakglass curl -X POST https://a/", "breakglass curl -- -X POST https://a/"),
            ("breakglass curl -- -o f https://a/", "breakglass curl -- -o f https://a/"),
            ("breakglass curl --output f https://a/", "breakglass curl -- --output f https://a/"),
            ("breakglass curl --reason r --yes -q https://a/", "breakglass curl --reason r --yes -- -q https://a/"),
            ("breakglass curl --ticket=T https://a/ --yes", "breakglass curl --ticket=T -- https://a/ --yes"),
            ("breakglass --control https://c curl -s x", "breakglass --control https://c curl -- -s x"),
            ("breakglass --output json --quiet curl x", "breakglass --output json --quiet curl -- x"),
            ("breakglass curl --binding dpop -s x", "breakglass curl --binding dpop -- -s x"),
            ("breakglass --dpop-key curl curl x", "breakglass --dpop-key curl curl -- x"),
            ("breakglass curl", "breakglass curl"),
            ("breakglass curl --reason", "breakglass curl --reason"),
            ("breakglass grants --mine", "breakglass grants --mine"),
            ("breakglass --control curl grants", "breakglass --control curl grants"),
            ("breakglass", "breakglass"),
        ] {
            assert_eq!(with_divider(words(typed)), words(divided), "{typed}");
        }
    }

    #[test]
    fn clap_reads_what_was_divided() {
        let typed = words("breakglass curl --reason stuck --ticket INC-1 --yes -sS -X POST -o f https://a/ --yes");
        let parsed = CommandLine::try_parse_from(with_divider(typed)).unwrap();
        let Verb::Curl(args) = parsed.verb else { panic!("not curl") };
        assert!(args.yes && args.justify.reason.is_some());
        assert_eq!(args.curl, words("-sS -X POST -o f https://a/ --yes"));
    }
}
