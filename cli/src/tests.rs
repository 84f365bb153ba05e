//! What the pages of the documentation tell people to type, held against what may be typed.
//!
//! Not here: running any of it, and names of metrics and words of the log (`cargo xtask check`). Invariant: a command that is
//! renamed, or loses an option, fails here with its page and line.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::args::Cli;

/// Every `aegisctl ..` of a page: in its blocks, and in runbooks also amid the text.
fn commands(text: &str, is_runbook: bool) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Of a block, whether it is one of commands; what programs print is theirs.
    let (mut block, mut begun) = (None::<bool>, String::new());
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            let holds_commands = line == "```sh" || line == "```text" && !is_runbook;
            block = block.is_none().then_some(holds_commands);
            continue;
        }
        if block == Some(true) {
            begun.push_str(line.trim_end_matches('\\'));
            if !line.ends_with('\\') {
                found.extend(typed(&begun).into_iter().map(|it| (at + 1, it)));
                begun.clear();
            }
        } else if block.is_none() && is_runbook {
            let quoted = line.split('`').skip(1).step_by(2);
            found.extend(quoted.flat_map(typed).map(|it| (at + 1, it)));
        }
    }
    found
}

fn typed(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or_default();
    let starts = line
        .match_indices("aegisctl ")
        .filter(|(at, _)| matches!(line[..*at].chars().next_back(), None | Some(' ' | '(' | '/')));
    let rest = starts.map(|(at, _)| &line[at..]);
    rest.map(|it| it.split(['|', '>', '<', ';', ')', '&']).next().unwrap_or_default().to_owned())
        .collect()
}

/// As a shell splits it, as far as pages go: quotes of both kinds.
fn words(command: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == ' ' => all.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let runbooks = fs::read_dir(root.join("docs/runbooks")).unwrap();
    let runbooks = runbooks.map(|entry| entry.unwrap().path());
    let mut all =
        vec![root.join("README.md"), root.join("docs/cli.md"), root.join("docs/config.md")];
    all.extend(runbooks.filter(|path| path.extension().is_some_and(|it| it == "md")));
    all
}

#[test]
fn every_command_that_a_page_tells_to_type_may_be_typed() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (line, command) in commands(&text, page.parent().unwrap().ends_with("runbooks")) {
            seen += 1;
            let Err(error) = Cli::command().try_get_matches_from(words(&command)) else { continue };
            if error.exit_code() != 0 {
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default();
                wrong.push(format!("{}:{line}: {command}: {why}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_command_that_nobody_can_type_is_found_wherever_it_stands() {
    let page = "`aegisctl cluster remvoe 3`\n```sh\nx | aegisctl policy rollback \\\n  --tennant acme\n```\n";
    let found = commands(page, true);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 4]);
    for (_, command) in found {
        assert!(Cli::command().try_get_matches_from(words(&command)).is_err(), "{command}");
    }
}
